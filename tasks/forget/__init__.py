"""`rded forget`: note source images, and take them out of every file of the run."""
