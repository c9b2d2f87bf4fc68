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
    # <solution hint="backward adds to what is there. Clipping needs gradients; the step needs clipped ones. loss.item() is a float.">
    optimizer.zero_grad()
    loss = loss_of()
    loss.backward()
    clip(parameters)
    optimizer.step()
    return loss.item()
    # </solution>


def plural(sounds):
    """The plural of a noun, from and to a list of sounds: + IH Z after a hissing sound, + S after a voiceless one, else + Z."""
    # <solution hint="Only the last sound matters. Return a new list.">
    last = sounds[-1]
    if last in HISSING:
        return [*sounds, "IH", "Z"]
    return [*sounds, "S" if last in VOICELESS else "Z"]
    # </solution>


def task_file(examples):
    """The text of a task file: a row per word, the word, a tab, its answer, a newline.

    examples: [(word, [answer, …])], each answer a list of sounds, joined by spaces. Further answers follow in the same row,
    each after a tab. Of a word that comes twice only the first row is written.
    """
    # <solution hint="str.join twice: ' ' inside an answer, a tab between the cells. Keep a set of the words that were written.">
    rows, written = [], set()
    for word, answers in examples:
        if word not in written:
            rows.append("\t".join([word, *(" ".join(answer) for answer in answers)]) + "\n")
        written.add(word)
    return "".join(rows)
    # </solution>


def words_right(predictions, accepted):
    """The share of words whose prediction, a list of sounds, equals one of the word's accepted answers. A float, 0 … 1."""
    # <solution hint="A word is right or wrong as a whole: one wrong sound is a wrong word. Which answers count?">
    right = [prediction in answers for prediction, answers in zip(predictions, accepted, strict=True)]
    return sum(right) / len(right)
    # </solution>


def best(trials):
    """Which trial to keep: the one that is best on validation; of several, the one that trains the fewest numbers.

    trials: a list of dictionaries with the keys "rank", "trained", "validation" and "test", shares of words right. Returns
    one of them.
    """
    # <solution hint="The test set is for the last number that you report, not for choosing. max takes a key=, which may be a tuple.">
    return max(trials, key=lambda trial: (trial["validation"], -trial["trained"]))
    # </solution>
