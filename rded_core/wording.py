"""Numbers and names in sentences for people."""


def counted(count: int, noun: str) -> str:
    """Returns a number and its noun: ``1 image``, ``2 images``, ``2 classes``, ``2 copies``."""
    if count == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{count} {noun[:-1]}ies"
    return f"{count} {noun}{'es' if noun.endswith(('s', 'x')) else 's'}"


SETTING_WORDS = {
    "algorithm_version": "algorithm version",
    "batch_size": "label-batch-size",
    "forgotten": "forgotten images",
    "observer.digest": "observer",
    "output": "the class's place in the observer's head",
    "outputs": "the classes' places in the network's head",
    "per_class": "images checked per class",
    "settings": "settings or source images",
    "source.digest": "source images",
    "tars": "copies of the candidates",
    "teacher.digest": "teacher",
}
"""What records and run.json name otherwise than people do, who know the flags."""


def setting_words(name: str) -> str:
    """Returns a setting as the command line names it: ``num-candidates``, ``label-batch-size``, ``source images``."""
    plain = name.removeprefix("config.")
    return SETTING_WORDS.get(plain, plain.replace("_", "-"))
