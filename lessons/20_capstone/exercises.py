"""Lesson 20: everything together: a step, a task, a file, a score, a choice. `pytest lessons/20_capstone` checks it.

The task is the plural of English nouns, spoken: cat -> K AE T S, dog -> D AO G Z, horse -> HH AO R S IH Z.
"""

HISSING = ("S", "Z", "SH", "ZH", "CH", "JH")        # after these a plural needs a vowel of its own
VOICELESS = ("P", "T", "K", "F", "TH")              # the other sounds that are made without the voice


def training_step(loss_of, parameters, optimizer, clip):
    """One step of training; returns the loss, a Python float.

    loss_of() gives the loss tensor of the next batch · clip(parameters) shortens the gradients in place · optimizer has
    zero_grad() and step(). Old gradients may still lie in the parameters.
    """
    # TODO 20.1: delete the next line and write training_step (about 6 lines).
    raise NotImplementedError("20.1 training_step")


def plural(sounds):
    """The plural of a noun, from and to a list of sounds: + IH Z after a hissing sound, + S after a voiceless one, else + Z."""
    # TODO 20.2: delete the next line and write plural (about 4 lines).
    raise NotImplementedError("20.2 plural")


def task_file(examples):
    """The text of a task file: a row per word, the word, a tab, its answer, a newline.

    examples: [(word, [answer, …])], each answer a list of sounds, joined by spaces. Further answers follow in the same row,
    each after a tab. Of a word that comes twice only the first row is written.
    """
    # TODO 20.3: delete the next line and write task_file (about 6 lines).
    raise NotImplementedError("20.3 task_file")


def words_right(predictions, accepted):
    """The share of words whose prediction, a list of sounds, equals one of the word's accepted answers. A float, 0 … 1."""
    # TODO 20.4: delete the next line and write words_right (about 2 lines).
    raise NotImplementedError("20.4 words_right")


def best(trials):
    """Which trial to keep: the one that is best on validation; of several, the one that trains the fewest numbers.

    trials: a list of dictionaries with the keys "rank", "trained", "validation" and "test", shares of words right. Returns
    one of them.
    """
    # TODO 20.5: delete the next line and write best (about 1 line).
    raise NotImplementedError("20.5 best")
