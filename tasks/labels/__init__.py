"""The label stage: choose a codec and epochs, label views with the teacher, reuse earlier labels."""
