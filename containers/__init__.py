"""The images that the stages run in, one folder per image; each tag is a hash of the image's content."""
