"""The label stage: choose views, label them with the teacher, reuse earlier labels."""
