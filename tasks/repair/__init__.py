"""`rded repair`: mend what other files can mend, and find the work to do again."""
