"""The saved model is open_clip's: loaded without askew it gives the same embeddings, bit for bit."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from askew.config import DataSettings, Recipe, TowerSettings
from askew.data.views import Tokens
from askew.recipes.settings import override
from askew.runs.evaluate import load_model
from askew.training.build import build_method
from askew.training.towers import build_towers, resolve
from helpers import micro_towers
from micro_runs import METHODS, micro_recipe, train, trainer_of

CAPTIONS = ["a red kite", "owl", "the tiny round paper boat under a tree beside a lamp and a shoe and a cup and an owl"]
TIMM = TowerSettings(
    model="",
    embed_dim=16,
    vision_cfg={
        "image_size": 32,
        "timm_model_name": "test_convnext2",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
    },
    text_cfg={"context_length": 16, "width": 32, "heads": 2, "layers": 1},
)
TOWERS = {"vit": micro_towers(), "timm": TIMM, "bidirectional": micro_towers(no_causal_mask=True)}

VARIANTS = {
    "clip, words": ["method.words_weight=1"],
    "mcd, normaliser": ["method.normaliser=global"],
    "mcd, half": ["method.aug_patches=half"],
}
OPEN_CLIP_ALONE = """
    import sys
    sys.modules["askew"] = None  # any import of it fails
    import numpy as np, open_clip, torch
    from PIL import Image
    images, captions, *folders = sys.argv[1:]
    pixels, captions = torch.from_numpy(np.load(images)), captions.split("|")
    pictures = [Image.fromarray(a) for a in (255 * pixels.numpy().transpose(0, 2, 3, 1) % 256).astype("uint8")]
    for folder in folders:
        model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
        model.eval()
        with torch.no_grad():
            scale, bias = model.logit_scale, np.nan if model.logit_bias is None else model.logit_bias
            np.savez(f"{folder}/alone.npz", tokens=tokenizer(captions), scale=scale, bias=bias,
                     image=model.encode_image(pixels, normalize=True),
                     text=model.encode_text(tokenizer(captions), normalize=True),
                     preprocessed=torch.stack([preprocess(p) for p in pictures]))
"""


def trained(table, folder, method, towers):
    """A trained Trainer with its run directory saved as `askew train` does."""
    from askew.training.export import save_models

    recipe = override(micro_recipe(table, method.split(",")[0]), VARIANTS.get(method, []))
    recipe = recipe.model_copy(update={"towers": resolve(towers)})
    folder.mkdir()
    trainer = trainer_of(recipe, folder)
    trainer.run()
    save_models(trainer.method, recipe.towers, folder)
    return trainer


CASES = [
    ("mcd", "vit"),
    ("mcd", "timm"),
    ("clip", "vit"),
    ("mcd", "bidirectional"),
    ("uniclip", "timm"),
    ("slip", "vit"),
    ("declip", "timm"),
    ("siglip", "vit"),
    ("fastclip", "vit"),
    ("albef", "vit"),
    ("albef", "timm"),
    ("aclip", "vit"),
    *((variant, "vit") for variant in VARIANTS),
]
PIXELS = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def exported(table, tmp_path_factory):
    """Each case trained and saved: its trainer, and its folder with what open_clip makes of the models there.

    One process without askew opens all of them, as its imports are what takes time.
    """
    root = tmp_path_factory.mktemp("exported")
    trainers = {case: trained(table, root / "-".join(case), case[0], TOWERS[case[1]]) for case in CASES}
    np.save(root / "pixels.npy", PIXELS.numpy())
    folders = [folder.parent for folder in sorted(root.glob("*/*/open_clip_config.json"))]
    command = [sys.executable, "-c", textwrap.dedent(OPEN_CLIP_ALONE), root / "pixels.npy", "|".join(CAPTIONS)]
    done = subprocess.run([*command, *folders], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return {case: (trainer, root / "-".join(case)) for case, trainer in trainers.items()}


@pytest.mark.parametrize(("method", "towers"), CASES)
def test_open_clip_alone_gives_the_same_embeddings_bit_for_bit(exported, method, towers):
    trainer, run = exported[method, towers]
    tokens = torch.stack([Tokens(16).sample(caption) for caption in CAPTIONS])
    trainer.method.eval()
    towers_of = trainer.method.export_towers()
    has_teacher = method.split(",")[0] in ("mcd", "albef", "aclip")
    assert list(towers_of) == (["model", "teacher"] if has_teacher else ["model"])
    made = [np.load(run / name / "alone.npz") for name in towers_of]
    for (image_tower, text_tower), alone in zip(towers_of.values(), made, strict=True):
        with torch.no_grad():
            assert np.array_equal(alone["image"], image_tower(PIXELS).embedding.numpy())
            assert np.array_equal(alone["text"], text_tower(tokens).embedding.numpy())
        assert np.array_equal(alone["tokens"], tokens.numpy())
        assert alone["scale"] == trainer.method.logit_scale.detach().numpy()[0]
        assert alone["scale"] not in (np.float32(np.log(1 / 0.07)), np.float32(np.log(10)))  # it has been trained
        bias = trainer.method.logit_bias
        assert np.isnan(alone["bias"]) if bias is None else alone["bias"] == bias.item() != -10
    assert sorted(p.name for p in run.iterdir() if p.name in ("model", "teacher")) == sorted(towers_of)
    if len(made) == 2:
        student, teacher = made
        assert not np.array_equal(student["image"], teacher["image"])
        assert np.array_equal(student["text"], teacher["text"]) == (method != "albef")  # which has a teacher for texts


def test_preprocessing_is_the_recipes(table, tmp_path):
    towers = micro_towers().model_copy(
        update={"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7), "interpolation": "bilinear"}
    )
    trained(table, tmp_path / "run", "clip", towers)
    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'run' / 'model'}")
    white = preprocess(Image.new("RGB", (90, 50), "white"))
    assert white.shape == (3, 32, 32)
    expected = (1 - torch.tensor([0.1, 0.2, 0.3])) / torch.tensor([0.5, 0.6, 0.7])
    torch.testing.assert_close(white.mean(dim=(1, 2)), expected)
    saved = json.loads((tmp_path / "run" / "model" / "open_clip_config.json").read_text(encoding="utf-8"))
    assert saved["preprocess_cfg"]["interpolation"] == "bilinear"


def test_a_saved_model_starts_another_run(table, tmp_path):
    first = micro_towers().model_copy(update={"mean": (0.1, 0.2, 0.3)})
    trainer = trained(table, tmp_path / "run", "mcd", first)
    towers = resolve(TowerSettings(pretrained=str(tmp_path / "run" / "model")))
    assert towers.mean == (0.1, 0.2, 0.3)
    pair = build_towers(towers, seed=5, mask_token=True).eval()
    pixels = torch.randn(5, 3, 32, 32)
    tokens = torch.stack([Tokens(16).sample(caption) for caption in CAPTIONS])
    source = trainer.method.towers.eval()
    with torch.no_grad():
        assert torch.equal(pair.image(pixels).embedding, source.image(pixels).embedding)
        assert torch.equal(pair.text(tokens).embedding, source.text(tokens).embedding)
    recipe = Recipe(name="again", method=METHODS["mcd"], towers=towers, data=DataSettings(source=str(table)))
    small = override(recipe, ["loader.batch_size=8", "loader.num_workers=0", "train.max_steps=1"])
    again = train(small, tmp_path / "again")
    assert (again / "model" / "open_clip_config.json").is_file()


@pytest.mark.parametrize(("first", "second"), [("siglip", "siglip"), ("siglip", "clip"), ("clip", "siglip")])
def test_a_bias_is_taken_over_where_both_have_one(table, tmp_path, first, second):
    trainer = trained(table, tmp_path / "run", first, micro_towers())
    towers = resolve(TowerSettings(pretrained=str(tmp_path / "run" / "model")))
    method = build_method(micro_recipe(table, second).model_copy(update={"towers": towers}))
    assert method.logit_scale.item() == trainer.method.logit_scale.item()
    expected = {("siglip", "siglip"): trainer.method.logit_bias, ("clip", "siglip"): torch.tensor([-10.0])}
    assert method.logit_bias == expected.get((first, second))


def test_encoders_of_a_run_are_its_model_and_its_teacher(table, tmp_path):
    recipe = micro_recipe(table, "mcd")
    run = train(recipe, tmp_path / "run")
    pictures = [
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (40, 40, 3), dtype=np.uint8)) for i in range(3)
    ]
    student, teacher, direct = (
        load_model(name, torch.device("cpu"), weights)
        for name, weights in ((str(run), "student"), (str(run), "teacher"), (f"local-dir:{run / 'model'}", "student"))
    )
    assert np.array_equal(student.image(pictures), direct.image(pictures))
    assert not np.array_equal(student.image(pictures), teacher.image(pictures))
    assert np.array_equal(student.text(CAPTIONS), teacher.text(CAPTIONS))
    np.testing.assert_allclose(np.linalg.norm(student.image(pictures), axis=1), 1, rtol=1e-6)
