"""The publish stage: dataset folder, recipe, card, summary."""
