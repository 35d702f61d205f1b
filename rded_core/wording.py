"""Numbers in sentences for people."""


def counted(count: int, noun: str) -> str:
    """Returns a number and its noun: ``1 image``, ``2 images``, ``2 classes``, ``2 copies``."""
    if count == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{count} {noun[:-1]}ies"
    return f"{count} {noun}{'es' if noun.endswith(('s', 'x', 'ch')) else 's'}"
