"""An avatar from Python: make it (again: it is only loaded), turn it, smile.

python examples/library.py photo.jpg smile.png
"""

import sys

from PIL import Image

import avatarcli

avatar = avatarcli.create(sys.argv[1])
picture = avatarcli.render(avatar, yaw=25, expression={"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8})
Image.fromarray(picture).save(sys.argv[2])
