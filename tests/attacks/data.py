"""What is done to the images that a run trains on."""

import shutil

from tests.attacks.files import replace_by
from tests.attacks.legs import Broken
from tests.attacks.life import Life
from tests.attacks.processes import wait_for_a_moment

BAD_SAMPLES = ["garbage", "empty", "FIFO", "folder", "device", "dangling link", "link to itself", "cut"]


def bad_data(life: Life) -> None:
    """Something that is no image lies among the images: it is named, or left out if one asks for that."""
    data = life.place("data")
    shutil.copytree(life.subject.folder.parent / life.subject.data, data)
    image = life.rng.choice(sorted(data.rglob("*.png")))
    if life.rng.random() < 0.5:
        image = image.with_name("x.jpg")
    what = life.rng.choice(BAD_SAMPLES)
    if what == "cut" and image.exists():
        content = image.read_bytes()
        image.write_bytes(content[: life.rng.randrange(len(content))])
    else:
        replace_by(life, image, what)
    skips = life.rng.random() < 0.5
    workers = life.rng.choice([0, 1, "auto"])
    leg = life.start(
        "--data-root", data, "--on-bad-sample", "skip" if skips else "stop", "--num-workers", workers
    )
    status = life.ended(leg, 0, 2)
    if status == 2 and image.name not in leg.error() and image.parent.name not in leg.error():
        raise Broken(f"a line that names {image}", str(leg))
    shutil.rmtree(life.directory, ignore_errors=True)


def changed_data(life: Life) -> None:
    """Data that has changed or gone since the run began, or goes as it runs: said in one line."""
    whole = life.subject.folder.parent / life.subject.data
    data = life.place("data")
    shutil.copytree(whole, data)
    meanwhile = life.rng.random() < 0.4
    if meanwhile:
        life.begin_in_the_middle()
        leg = life.start("--data-root", data)
        wait_for_a_moment(life, leg)
    else:
        life.begin_in_the_middle()
    image, other = life.rng.sample(sorted(data.rglob("*.png")), 2)
    what = life.rng.choice(["other content", "one more", "one less", "all gone"])
    life.tell(f"{image.name}: {what}{' as it runs' if meanwhile else ''}")
    if what == "all gone":
        shutil.rmtree(data)
    elif what == "one less":
        image.unlink()
    elif what == "one more":
        shutil.copy(image, image.with_name("zzz.png"))
    elif life.subject.name != "own" and other.read_bytes() != image.read_bytes():
        shutil.copy(other, image)  # which only data with a digest would notice
    if not meanwhile:
        leg = life.start("--data-root", data)
    life.ended(leg, 0, 2)
    if life.directory.exists():
        life.ended(life.start("--data-root", whole), 0)
