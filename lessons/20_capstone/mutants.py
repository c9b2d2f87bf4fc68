"""Wrong answers to the exercises of lesson 20, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("20.1", "keeps old gradients", "backward adds to the gradients that are there. Without zero_grad each step carries all gradients before it.", '''
def training_step(loss_of, parameters, optimizer, clip):
    loss = loss_of()
    loss.backward()
    clip(parameters)
    optimizer.step()
    return loss.item()
'''),
    Mutant("20.1", "zeroes what it needs", "zero_grad stands between backward and step, so the step has no gradient to work with.", '''
def training_step(loss_of, parameters, optimizer, clip):
    loss = loss_of()
    loss.backward()
    optimizer.zero_grad()
    clip(parameters)
    optimizer.step()
    return loss.item()
'''),
    Mutant("20.1", "steps one batch late", "The step comes before this batch's backward, so it goes along the gradient of the batch before.", '''
def training_step(loss_of, parameters, optimizer, clip):
    loss = loss_of()
    clip(parameters)
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()
    return loss.item()
'''),
    Mutant("20.1", "does not clip", "The step got the full gradient: clip is not called, or not between backward and step. One huge gradient can undo many steps.", '''
def training_step(loss_of, parameters, optimizer, clip):
    optimizer.zero_grad()
    loss = loss_of()
    loss.backward()
    optimizer.step()
    return loss.item()
'''),
    Mutant("20.1", "returns the tensor", "You returned the loss itself. It holds on to the graph of the whole step; keep its number, loss.item().", '''
def training_step(loss_of, parameters, optimizer, clip):
    optimizer.zero_grad()
    loss = loss_of()
    loss.backward()
    clip(parameters)
    optimizer.step()
    return loss
'''),
    Mutant("20.1", "measures afterwards", "You ask for the loss a second time after the step: that is another batch, and twice the work.", '''
def training_step(loss_of, parameters, optimizer, clip):
    optimizer.zero_grad()
    loss = loss_of()
    loss.backward()
    clip(parameters)
    optimizer.step()
    return loss_of().item()
'''),
    Mutant("20.2", "always adds S", "The sound is S only after voiceless sounds; a hissing sound needs a vowel before the ending, and after all others it is Z.", '''
def plural(sounds):
    return [*sounds, "S"]
'''),
    Mutant("20.2", "follows the spelling", "The spelling has an s, but after a voiced sound the ending is spoken Z: dogs, trees, balls.", '''
def plural(sounds):
    return [*sounds, "IH", "Z"] if sounds[-1] in HISSING else [*sounds, "S"]
'''),
    Mutant("20.2", "always adds Z", "After P, T, K, F and TH the ending is S: cats.", '''
def plural(sounds):
    return [*sounds, "IH", "Z"] if sounds[-1] in HISSING else [*sounds, "Z"]
'''),
    Mutant("20.2", "forgets the vowel", "Nobody can say two hissing sounds in a row: horse becomes HH AO R S IH Z, with a vowel between.", '''
def plural(sounds):
    return [*sounds, "S" if sounds[-1] in VOICELESS else "Z"]
'''),
    Mutant("20.2", "turns S and Z around", "S follows voiceless sounds, Z voiced ones. Yours are exchanged.", '''
def plural(sounds):
    if sounds[-1] in HISSING:
        return [*sounds, "IH", "Z"]
    return [*sounds, "Z" if sounds[-1] in VOICELESS else "S"]
'''),
    Mutant("20.2", "looks at the first sound", "The ending depends on the last sound, not on the first.", '''
def plural(sounds):
    if sounds[0] in HISSING:
        return [*sounds, "IH", "Z"]
    return [*sounds, "S" if sounds[0] in VOICELESS else "Z"]
'''),
    Mutant("20.2", "changes its argument", "You appended to the caller's list, so the singular is lost. Return a new list.", '''
def plural(sounds):
    sounds += ["IH", "Z"] if sounds[-1] in HISSING else ["S" if sounds[-1] in VOICELESS else "Z"]
    return sounds
'''),
    Mutant("20.2", "looks at all sounds", "The last sound decides. desk, D EH S K, has an S inside and still gets S.", '''
def plural(sounds):
    if any(s in HISSING for s in sounds):
        return [*sounds, "IH", "Z"]
    return [*sounds, "S" if sounds[-1] in VOICELESS else "Z"]
'''),
    Mutant("20.3", "uses commas", "The cells of a row are separated by tabs; a task file is no CSV.", '''
def task_file(examples):
    rows, written = [], set()
    for word, answers in examples:
        if word not in written:
            rows.append(",".join([word, *(" ".join(answer) for answer in answers)]) + "\\n")
        written.add(word)
    return "".join(rows)
'''),
    Mutant("20.3", "runs the sounds together", "The sounds of an answer are separated by spaces. KAETS would be one unknown symbol.", '''
def task_file(examples):
    rows, written = [], set()
    for word, answers in examples:
        if word not in written:
            rows.append("\\t".join([word, *("".join(answer) for answer in answers)]) + "\\n")
        written.add(word)
    return "".join(rows)
'''),
    Mutant("20.3", "keeps one answer", "A word may have several right answers; you wrote the first one only.", '''
def task_file(examples):
    rows, written = [], set()
    for word, answers in examples:
        if word not in written:
            rows.append(f"{word}\\t{' '.join(answers[0])}\\n")
        written.add(word)
    return "".join(rows)
'''),
    Mutant("20.3", "writes a word twice", "A word stands in the file twice. Then one row could be trained on and the other tested.", '''
def task_file(examples):
    return "".join("\\t".join([word, *(" ".join(answer) for answer in answers)]) + "\\n" for word, answers in examples)
'''),
    Mutant("20.3", "writes a row per answer", "All answers of a word stand in one row, separated by tabs; you wrote a row for each.", '''
def task_file(examples):
    rows, written = [], set()
    for word, answers in examples:
        if word not in written:
            rows += [f"{word}\\t{' '.join(answer)}\\n" for answer in answers]
        written.add(word)
    return "".join(rows)
'''),
    Mutant("20.3", "forgets the newlines", "Each row ends with a newline; yours are one long row.", '''
def task_file(examples):
    rows, written = [], set()
    for word, answers in examples:
        if word not in written:
            rows.append("\\t".join([word, *(" ".join(answer) for answer in answers)]))
        written.add(word)
    return "".join(rows)
'''),
    Mutant("20.3", "finds words in words", "You look for the word anywhere in the text. do stands in dog, and use in house: "
           "compare whole words.", '''
def task_file(examples):
    text = ""
    for word, answers in examples:
        if word not in text:
            text += "\\t".join([word, *(" ".join(a) for a in answers)]) + "\\n"
    return text
'''),
    Mutant("20.4", "knows one answer", "Only the first accepted answer counts with you. Any of them is right.", '''
def words_right(predictions, accepted):
    return sum(p == answers[0] for p, answers in zip(predictions, accepted)) / len(predictions)
'''),
    Mutant("20.4", "ignores the order", "You compared which sounds occur, not their order: T K AE is not cat.", '''
def words_right(predictions, accepted):
    return sum(any(sorted(p) == sorted(a) for a in answers) for p, answers in zip(predictions, accepted)) / len(predictions)
'''),
    Mutant("20.4", "accepts a beginning", "A prediction that stops too early is wrong, even if what is there is right.", '''
def words_right(predictions, accepted):
    return sum(any(a[:len(p)] == p for a in answers) for p, answers in zip(predictions, accepted)) / len(predictions)
'''),
    Mutant("20.4", "returns a count", "A share is wanted: divide by the number of words.", '''
def words_right(predictions, accepted):
    return float(sum(p in answers for p, answers in zip(predictions, accepted)))
'''),
    Mutant("20.4", "returns percent", "You returned percent; a share lies between 0 and 1.", '''
def words_right(predictions, accepted):
    return 100 * sum(p in answers for p, answers in zip(predictions, accepted)) / len(predictions)
'''),
    Mutant("20.4", "lets it go on", "A prediction that goes on after the right sounds is wrong: K AE T S is not cat.", '''
def words_right(predictions, accepted):
    return sum(any(p[:len(a)] == a for a in answers) for p, answers in zip(predictions, accepted)) / len(predictions)
'''),
    Mutant("20.5", "chooses by the test set", "You chose by the test set. Then its score is too good: it was picked because it is high. Choose on validation, report test once.", '''
def best(trials):
    return max(trials, key=lambda trial: (trial["test"], -trial["trained"]))
'''),
    Mutant("20.5", "forgets the tie", "Two trials are equally good on validation; the one that trains fewer numbers is wanted, not the one that comes first.", '''
def best(trials):
    return max(trials, key=lambda trial: trial["validation"])
'''),
    Mutant("20.5", "takes the larger", "Of two equally good trials you took the one that trains more numbers.", '''
def best(trials):
    return max(trials, key=lambda trial: (trial["validation"], trial["trained"]))
'''),
    Mutant("20.5", "takes the worst", "You took the trial with the lowest score.", '''
def best(trials):
    return min(trials, key=lambda trial: (trial["validation"], trial["trained"]))
'''),
    Mutant("20.5", "adds the scores", "You added validation and test. The test score must not have a say in the choice.", '''
def best(trials):
    return max(trials, key=lambda trial: (trial["validation"] + trial["test"], -trial["trained"]))
'''),
    Mutant("20.5", "takes the smallest model", "You looked at the number of trained parameters first. It only decides between equals.", '''
def best(trials):
    return min(trials, key=lambda trial: (trial["trained"], -trial["validation"]))
'''),
]

ALLOWED = {
    "words_right: True -> False": "strict only tells lists of unequal length apart, which nobody gives",
}
