"""Run folders at URLs: working copy, two-way sync and lease."""
