"""The steps of an avatar, from the photo to the finished file, and what is done with it afterwards."""
