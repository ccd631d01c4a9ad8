"""CycleGAN (Zhu et al., arXiv 1703.10593), tiny: two generators, two discriminators, two image buffers."""

import torch
from ignite.engine import Engine
from torch.nn import ModuleList
from torch.nn.functional import l1_loss
from torch.utils.data import TensorDataset

from handlers import StepMeans
from ignite_pipeline.adversarial import ImageBuffer, discriminator_loss, least_squares
from ignite_pipeline.model_modes import frozen
from ignite_pipeline.models.pix2pix import PatchDiscriminator, UNetGenerator
from ignite_pipeline.run import Parser, launch


def cycle_gan_step(compute, g, d, optimizer_g, optimizer_d, buffers):
    def loss_of_generators(images):
        reals, fakes = images
        judged = [least_squares(compute.predict(d[i], fakes[i]), "generator") for i in (0, 1)]
        back = [l1_loss(compute.predict(g[i], fakes[1 - i]), reals[i]) for i in (0, 1)]
        output = {"loss_adversarial": judged[0] + judged[1], "loss_cycle": back[0] + back[1]}
        return output["loss_adversarial"] + 10 * output["loss_cycle"], output

    def loss_of_discriminators(images):
        judged = [[compute.predict(d[i], x[i]) for x in images] for i in (0, 1)]
        losses = [discriminator_loss(least_squares, real=real, fake=fake)[0] for real, fake in judged]
        return 0.5 * (losses[0] + losses[1]), {"loss_d": losses[0] + losses[1]}

    def with_fakes(reals):
        return reals, [compute.predict(g[i], reals[1 - i]) for i in (0, 1)]

    def exchanged(images):
        reals, fakes = images
        return reals, [buffer.exchange(fake) for buffer, fake in zip(buffers, fakes, strict=True)]

    def step(engine, batch):
        compute.begin(engine, g, d)
        parts = compute.each(with_fakes, compute.parts(batch))
        with frozen(d):
            output = compute.update(optimizer_g, loss_of_generators, parts)
        output |= compute.update(optimizer_d, loss_of_discriminators, compute.each(exchanged, parts))
        compute.end()
        return output

    return step


def train(run):
    loader = run.train_loader(TensorDataset(*torch.rand(2, 12, 3, 32, 32)), batch_size=1)
    g = run.place(ModuleList(UNetGenerator(image_size=32, width=4) for _ in "ab"))
    d = run.place(ModuleList(PatchDiscriminator(3, layers=1, width=4) for _ in "ab"))
    optimizers = [torch.optim.Adam(models.parameters(), lr=2e-4, betas=(0.5, 0.999)) for models in (g, d)]
    trainer = Engine(cycle_gan_step(run.compute, g, d, *optimizers, [ImageBuffer(5), ImageBuffer(5)]))
    run.attach(trainer, measure=[StepMeans(every_iters=5)], save={"g": g, "d": d})  # the rest is in the step
    run.train(trainer, loader, epochs=3)


if __name__ == "__main__":
    launch(train, Parser(), task="cyclegan")
