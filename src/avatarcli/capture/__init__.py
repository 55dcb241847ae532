"""What is in a picture: photo, video, matte, face landmarks, labels, and whether it is good enough."""
