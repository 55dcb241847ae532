"""The live viewer: a local page that shows the avatar and moves it."""
