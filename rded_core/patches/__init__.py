"""From candidates to mosaics: crops, realism scores, selection and tiling."""
