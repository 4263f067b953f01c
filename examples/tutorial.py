# %% [markdown]
# # A first model with askew
#
# Train a small model on the drawings and photographs that come with askew, look at its curve, measure what it has
# learned, classify, search, and find captions that do not fit their images. Nothing is downloaded.
#
#     python examples/tutorial.py
#
# takes less than two minutes on two CPU cores, and writes a run and five figures into the folder `tutorial`. Editors
# that know `# %%` show the file as a notebook. Two settings of the environment change it: `TUTORIAL_FOLDER`, and
# `TUTORIAL_STEPS`, the number of training steps. [The page about Python](../docs/python.md) explains each call.

# %%
import io
import math
import os
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from PIL import Image

import askew

FOLDER = Path(os.environ.get("TUTORIAL_FOLDER", "tutorial"))
STEPS = int(os.environ.get("TUTORIAL_STEPS", "120"))
FOLDER.mkdir(parents=True, exist_ok=True)
BLUE, ORANGE, GRAY = "#0072B2", "#D55E00", "#8a9099"


def rows(name, **conditions):
    """Rows of the data that come with askew, as dictionaries: images as bytes, captions, and which part they are."""
    table = pq.read_table(str(files("askew") / "assets" / "embedded" / f"{name}.parquet"))
    return [row for row in table.to_pylist() if all(row[key] == value for key, value in conditions.items())]


def show(axes, image, title="", colour="black"):
    """Draw an encoded image without axes."""
    axes.imshow(Image.open(io.BytesIO(image)).convert("RGB"))
    axes.set_title(title, fontsize=7, color=colour)
    axes.axis("off")


# %% [markdown]
# ## Train
#
# The recipe `tiny-clip` is CLIP on 5,162 drawings and photographs with their names: emoji of three styles, clip art,
# and scenery. A real run takes eight epochs of 40 steps. This one stops after three, which is enough to see that it
# learns. With `verbose=True` you could watch. Workers of the loader would import this script, so it has none.

# %%
settings = {"train.max_steps": STEPS, "train.log_every": 2, "loader.num_workers": 0, "evaluation.report": False}
settings["evaluation.suite"] = "none"  # it is evaluated below
number = 1 + len(list(FOLDER.glob("run-*")))
run = askew.train("tiny-clip", out=FOLDER / f"run-{number}", overrides=settings)
print(f"{run.path}: loss {run.metrics[0]['loss']:.2f} at step 1, {run.metrics[-1]['loss']:.2f} at step {STEPS}")

# %% [markdown]
# ## Look at its curve
#
# A model that has learned nothing chooses among the 128 captions of a batch by chance, and its loss is log 128 = 4.85.
# The modality gap is the distance between the mean image and the mean text. It first widens, and closes while images
# and texts come to share one space.

# %%
steps = [line["step"] for line in run.metrics]
chance = math.log(run.recipe.loader.batch_size)
figure = Figure(figsize=(8, 3), layout="constrained")
left, right = figure.subplots(1, 2)
left.plot(steps, [line["loss"] for line in run.metrics], color=BLUE)
left.axhline(chance, color=GRAY, linestyle="--")
left.annotate(f"chance, {chance:.2f}", (steps[-1], chance), ha="right", va="bottom", color=GRAY)
left.set(title="Loss", xlabel="step", ylim=(0, 1.15 * chance))
right.plot(steps, [line["modality_gap"] for line in run.metrics], color=ORANGE)
right.set(title="Modality gap", xlabel="step", ylim=(0, None))
figure.savefig(FOLDER / "curve.png", dpi=120)

# %% [markdown]
# ## Evaluate
#
# The suite `tiny` asks for what the model was not trained on: drawings in a style that it never saw, and photographs.
# Each result has its 95 % interval and what guessing gives. An interval that holds chance shows nothing.

# %%
model = run.load()
results = askew.evaluate(model)
print(results)
choices = f"{results['naming/unseen_style'].values['classes']:,} names to choose from"
shown = {
    "naming/unseen_style": ("top1", f"the name of a drawing in an unseen style,\n{choices}"),
    "group/unseen_style": ("top1", "the group of such a drawing"),
    "retrieval/unseen_style/name": ("text_to_image/r@10", "the drawing for a name,\namong the first ten"),
    "scenery": ("top1", "the kind of scenery in a photograph"),
}
figure = Figure(figsize=(8, 3), layout="constrained")
axes = figure.subplots()
for place, (task, (measure, _)) in enumerate(reversed(shown.items())):
    result = results[task]
    low, high = result.intervals[measure]
    axes.barh(place, 100 * result.values[measure], height=0.5, color=BLUE)
    axes.plot([100 * low, 100 * high], [place, place], color="black")
    axes.plot([100 * result.chance[measure]] * 2, [place - 0.35, place + 0.35], color=ORANGE)
axes.set_yticks(range(len(shown)), [words for _, words in reversed(shown.values())])
axes.set(xlabel="%", xlim=(0, None))
figure.suptitle("What it has learned: share right, its 95 % interval (black), and chance (orange)", fontsize=9)
figure.savefig(FOLDER / "results.png", dpi=120)

# %% [markdown]
# ## Classify without training
#
# The photographs were not trained on. Names of classes are all that a classifier needs.

# %%
photographs = rows("scenery", cell="unseen_concept")
kinds = sorted({row["concept"] for row in rows("scenery")})
classify = model.zero_shot(kinds, templates=["{}", "a photo of {}"])
predicted = classify(row["image"] for row in photographs)
right = [name == row["concept"] for name, row in zip(predicted.names, photographs, strict=True)]
print(f"scenery: {sum(right)} of {len(right)} photographs right; guessing gives {len(right) / len(kinds):.1f}")

figure = Figure(figsize=(8, 5.2), layout="constrained")
figure.suptitle("Scenery: the model's first choice for 32 photographs, in blue where it is right", fontsize=9)
for axes, row, name, is_right in zip(figure.subplots(4, 8).flat, photographs, predicted.names, right, strict=False):
    found = name if is_right else f"{name}\n(it is {row['concept']})"
    show(axes, row["image"], found, BLUE if is_right else ORANGE)
figure.savefig(FOLDER / "scenery.png", dpi=120)

# %% [markdown]
# ## Search
#
# `rank` finds the best images for each text. The drawings are encoded once, and the embeddings are used below again.
# A model this young goes by colours more than by what is drawn.

# %%
drawings = rows("emoji", cell="unseen_style")
embeddings = model.encode_images(row["image"] for row in drawings)
texts = ["a red heart", "a cat face", "clock", "flag: Japan"]
best = model.rank(embeddings, texts, k=6)

figure = Figure(figsize=(8, 5), layout="constrained")
figure.suptitle("The six best of 1,268 drawings in a style that was not trained on", fontsize=9)
grid = figure.subplots(len(texts), 7)
for line, text, places, scores in zip(grid, texts, best.indices, best.scores, strict=True):
    line[0].text(0.5, 0.5, text, ha="center", va="center", fontsize=9)
    line[0].axis("off")
    for axes, place, score in zip(line[1:], places, scores, strict=True):
        show(axes, drawings[place]["image"], f"{score:.2f} {drawings[place]['caption'][:13]}")
figure.savefig(FOLDER / "search.png", dpi=120)

# %% [markdown]
# ## Which captions do not fit?
#
# A tenth of the captions are exchanged. A caption that does not belong to its image has a lower cosine, mostly. The
# area under the curve is the chance that a wrong caption scores below a right one; guessing gives 0.5. On your own
# captions, `askew inspect` looks for such pairs with more than one measure.

# %%
captions = [row["caption"] for row in drawings]
random = np.random.default_rng(0)
wrong = random.choice(len(captions), len(captions) // 10, replace=False)
exchanged = np.array(captions, dtype=object)
exchanged[wrong] = exchanged[np.roll(wrong, 1)]
scores = (embeddings * model.encode_texts(exchanged)).sum(axis=1)
is_wrong = np.zeros(len(captions), dtype=bool)
is_wrong[wrong] = True
area = (scores[is_wrong][:, None] < scores[~is_wrong][None, :]).mean()
print(f"wrong captions: area under the curve {area:.2f}; the lowest cosines:")
for place in scores.argsort()[:5]:
    print(f"  {scores[place]:5.2f}  {exchanged[place]!r} at a drawing of {captions[place]!r}")

figure = Figure(figsize=(8, 3), layout="constrained")
axes = figure.subplots()
bins = np.linspace(scores.min(), scores.max(), 40).tolist()
axes.hist(scores[~is_wrong], bins, density=True, alpha=0.6, color=BLUE, label="captions that fit")
axes.hist(scores[is_wrong], bins, density=True, alpha=0.6, color=ORANGE, label="exchanged captions")
axes.set(title=f"Cosines of drawings and captions; area under the curve {area:.2f}", xlabel="cosine", yticks=[])
axes.legend(frameon=False)
figure.savefig(FOLDER / "captions.png", dpi=120)
print(f"five figures in {FOLDER}")
