"""What a dataset says about itself: card, Croissant metadata, report page, pictures."""
