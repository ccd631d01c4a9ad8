"""How good a generator's translations of validation pairs are."""

import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from ignite.engine import Engine
from ignite.metrics import FID
from torch import Tensor, nn
from torchvision.models import inception_v3
from torchvision.transforms.v2.functional import resize

from ignite_pipeline.command_line import say
from ignite_pipeline.data.batch_transforms import SplitPair, to_pixels
from ignite_pipeline.data.images import progress
from ignite_pipeline.data.paired import validation_pairs
from ignite_pipeline.errors import BadInput
from ignite_pipeline.evaluate.figures import Figures
from ignite_pipeline.models.weight_files import load_weights, read_state_dict
from ignite_pipeline.predict.trained_models import TrainedModel
from ignite_pipeline.seeding import EVALUATION_STREAM, Generators, position_seed
from ignite_pipeline.translation_metrics import attach_translation_metrics

_FEATURES, _SIDE = 2048, 299


def evaluate_translations(
    model: TrainedModel, root: Path, *, inception: str | None = None
) -> tuple[Figures, list[Tensor], int]:
    """Return L1, PSNR and SSIM, images for a picture (four of source, translation and target), and how many
    pairs could not be read, which are reported and left out.

    With the weights of torchvision's Inception v3 in a file, FID too (Heusel et al., arXiv 1706.08500). Each
    image is translated on its own, with the dropout that the run drew for it in its evaluations.
    """
    side = model.signature.preprocessing.image_size
    direction = "BtoA" if model.signature.outputs == ("A",) else "AtoB"
    pairs, unreadable = validation_pairs(root, direction=direction, image_size=side)
    for message in unreadable:
        say(message)
    generators, split, shown = Generators(model.device), SplitPair(), list[Tensor]()

    def translate(engine: Engine, batch: Tensor) -> dict[str, Tensor]:
        source, target = split(batch)
        with generators.seeded(position_seed(model.seed, EVALUATION_STREAM, engine.state.iteration)):
            fake = model.predict(batch[:, :3])
        if engine.state.iteration <= 4:
            shown.extend(to_pixels(part[0]) for part in (source, fake, target))
        return {"y_pred": fake, "y": target}

    evaluator = Engine(translate)
    attach_translation_metrics(evaluator, torch.device("cpu"))
    if inception is not None:
        if find_spec("scipy") is None:
            raise BadInput("--inception: the FID needs scipy: pip install scipy")
        fid = FID(_FEATURES, _Inception(inception), lambda output: (output["y_pred"], output["y"]))
        fid.attach(evaluator, "fid")
    bar = progress(pairs.pairs.split(1), total=len(pairs), description="translating")
    if inception is not None and len(pairs) < _FEATURES:
        say(f"the FID of {len(pairs)} images, fewer than its {_FEATURES:,} features, is no more than a hint")
    with bar, model.inferring(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Matrix is singular")  # which that means
        metrics = evaluator.run(bar, epoch_length=len(pairs)).metrics
    return (
        Figures(len(pairs), {name: float(value) for name, value in metrics.items()}),
        shown,
        len(unreadable),
    )


class _Inception(nn.Module):
    """The features of images in [-1, 1], ``(B, 2048)``, before the last layer of Inception v3."""

    def __init__(self, path: str) -> None:
        super().__init__()
        # Its weights come from TensorFlow: they want values in [-1, 1], which transform_input=True makes of
        # values normalised as ImageNet's.
        self.model = inception_v3(weights=None, aux_logits=False, init_weights=False, transform_input=False)
        own = self.model.state_dict().keys()
        state = read_state_dict(path)
        load_weights(self.model, state, source=path, name="inception_v3", unused=state.keys() - own)
        self.model.fc = nn.Identity()
        self.model.eval()

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.model(resize(images, [_SIDE, _SIDE], antialias=True))
        return features
