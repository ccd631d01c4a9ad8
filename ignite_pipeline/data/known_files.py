"""Names of files that data sets consist of. They are torchvision's; importing that takes a second."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
CIFAR10_FOLDER = "cifar-10-batches-py"
