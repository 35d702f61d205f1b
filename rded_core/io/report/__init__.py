"""A dataset's own descriptions: card, Croissant metadata, report page, pictures."""
