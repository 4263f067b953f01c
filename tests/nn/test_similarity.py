import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from askew.nn.similarity import IMAGE, TEXT, DomainSimilarity, Temperature
from reference import equations

TAU = (0.1, 0.3, 0.7)  # image-image, image-text, text-text
OFFSET = (0.5, -0.2, 0.1)
ROW_DOMAIN, COLUMN_DOMAIN = [TEXT, IMAGE, IMAGE], [IMAGE, TEXT, TEXT, IMAGE, IMAGE, TEXT]


def unit(seed, num):
    return equations.normalise(np.random.default_rng(seed).normal(size=(num, 4)))


def domain_similarity(temperatures=TAU, offset=OFFSET):
    similarity = DomainSimilarity(temperatures)
    with torch.no_grad():
        similarity.offset.copy_(torch.tensor(offset))
    return similarity


def literal(rows, columns, tau=TAU, offset=OFFSET):
    """UniCLIP's similarity, pair by pair. The order of the two domains does not matter."""
    names = {
        (IMAGE, IMAGE): 0,
        (IMAGE, TEXT): 1,
        (TEXT, IMAGE): 1,
        (TEXT, TEXT): 2,
    }
    logits = np.zeros((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            d = names[ROW_DOMAIN[i], COLUMN_DOMAIN[j]]
            logits[i, j] = (sum(a * b for a, b in zip(row, column, strict=True)) - offset[d]) / tau[d]
    return logits


def domains():
    return torch.tensor(ROW_DOMAIN), torch.tensor(COLUMN_DOMAIN)


# By hand


def test_temperature_by_hand():
    """cos 0.6 at tau 0.2: 3. cos 1: 5."""
    logits = Temperature(0.2)(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [1.0, 0.0]]))
    torch.testing.assert_close(logits, torch.tensor([[3.0, 5.0]]))


def test_domain_similarity_by_hand():
    """cos 0.6, offsets 0.5, -0.2: image-image (0.6 - 0.5) / 0.1 = 1, image-text (0.6 + 0.2) / 0.2 = 4."""
    similarity = domain_similarity((0.1, 0.2, 0.4))
    image, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [0.6, 0.8]])
    logits = similarity(image, other, torch.tensor([IMAGE]), torch.tensor([IMAGE, TEXT]))
    torch.testing.assert_close(logits, torch.tensor([[1.0, 4.0]]))


# The reference


@pytest.mark.parametrize("tau", [0.01, 0.07, 1.0])
def test_logits_are_scaled_cosines(tau):
    text, image = unit(1, 3), unit(2, 6)
    logits = Temperature(tau)(torch.tensor(text), torch.tensor(image))
    assert logits.dtype == torch.float32
    expected = equations.eq1_similarity(text, image) / tau
    np.testing.assert_allclose(logits.detach(), expected, rtol=1e-5, atol=1e-6 / tau)


def test_domain_similarity_equals_the_loop():
    rows, columns = unit(1, 3), unit(2, 6)
    logits = domain_similarity()(torch.tensor(rows), torch.tensor(columns), *domains())
    assert logits.dtype == torch.float32
    np.testing.assert_allclose(logits.detach(), literal(rows, columns), rtol=1e-5, atol=1e-5)


def test_gradient_of_the_temperature_equals_differences_of_reference():
    text, image = unit(1, 3), unit(2, 6)
    weight = np.random.default_rng(3).normal(size=(3, 6))
    temperature = Temperature(0.2)
    leaves = [torch.tensor(array, requires_grad=True) for array in (text, image)]
    (temperature(*leaves) * torch.tensor(weight)).sum().backward()

    def weighed(text, image, log_scale):
        return (weight * equations.eq1_similarity(text, image)).sum() * math.exp(log_scale)

    start = np.array(-math.log(0.2))
    for found, expected in (
        (leaves[0].grad, equations.numeric_gradient(lambda x: weighed(x, image, start), text)),
        (leaves[1].grad, equations.numeric_gradient(lambda x: weighed(text, x, start), image)),
        (temperature.log_scale.grad[0], equations.numeric_gradient(lambda x: weighed(text, image, x), start)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_gradient_of_domain_similarity_equals_differences_of_reference():
    rows, columns = unit(1, 3), unit(2, 6)
    weight = np.random.default_rng(3).normal(size=(3, 6))
    similarity = domain_similarity()
    leaf = torch.tensor(rows, requires_grad=True)
    (similarity(leaf, torch.tensor(columns), *domains()) * torch.tensor(weight)).sum().backward()

    def weighed(rows, log_scale, offset):
        return (weight * literal(rows, columns, np.exp(-log_scale), offset)).sum()

    scale, offset = -np.log(TAU), np.array(OFFSET)
    for found, expected in (
        (leaf.grad, equations.numeric_gradient(lambda x: weighed(x, scale, offset), rows)),
        (similarity.log_scale.grad, equations.numeric_gradient(lambda x: weighed(rows, x, offset), scale)),
        (similarity.offset.grad, equations.numeric_gradient(lambda x: weighed(rows, scale, x), offset)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        assert np.abs(expected).min() > 1e-3


# Invariances


def test_rows_and_columns_may_be_swapped():
    similarity, (rows, columns) = domain_similarity(), (torch.tensor(unit(1, 3)), torch.tensor(unit(2, 6)))
    row_domain, column_domain = domains()
    forward, swapped = (
        similarity(rows, columns, row_domain, column_domain),
        similarity(columns, rows, column_domain, row_domain),
    )
    torch.testing.assert_close(forward, swapped.T)


def test_with_equal_temperatures_and_no_offset_domain_similarity_is_one_temperature():
    rows, columns = torch.tensor(unit(1, 3)), torch.tensor(unit(2, 6))
    similarity = DomainSimilarity((0.2, 0.2, 0.2))
    torch.testing.assert_close(similarity(rows, columns, *domains()), Temperature(0.2)(rows, columns))


def test_logit_scale_is_the_logarithm_of_the_scale_of_image_text_pairs():
    torch.testing.assert_close(Temperature(0.07).logit_scale, torch.tensor([math.log(1 / 0.07)]))
    torch.testing.assert_close(domain_similarity().logit_scale, torch.tensor([math.log(1 / TAU[1])]))


@pytest.mark.parametrize("similarity", [Temperature(), DomainSimilarity()], ids=["temperature", "domain"])
def test_learned_scalars_have_a_dimension(similarity):
    assert all(parameter.ndim == 1 for parameter in similarity.parameters())


# Extremes


def test_clamp_keeps_scales_between_1_and_100():
    temperature, similarity = Temperature(), domain_similarity()
    for start, end in ((9.0, math.log(100)), (-3.0, 0.0), (2.0, 2.0)):
        with torch.no_grad():
            temperature.log_scale.fill_(start)
        temperature.clamp_()
        assert temperature.log_scale.item() == pytest.approx(end)
    with torch.no_grad():
        similarity.log_scale.copy_(torch.tensor([9.0, -3.0, 2.0]))
    similarity.clamp_()
    torch.testing.assert_close(similarity.log_scale.detach(), torch.tensor([math.log(100), 0.0, 2.0]))
    torch.testing.assert_close(similarity.offset.detach(), torch.tensor(OFFSET))
    assert similarity.log_scale.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_computes_in_float32(dtype):
    rows, columns = torch.tensor(unit(1, 3)).to(dtype), torch.tensor(unit(2, 6)).to(dtype)
    for similarity, more in ((Temperature(), ()), (DomainSimilarity(), domains())):
        logits = similarity(rows, columns, *more)
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits, similarity(rows.float(), columns.float(), *more))


def test_rejects_domains_that_do_not_fit():
    similarity, (rows, columns) = DomainSimilarity(), (torch.zeros(3, 4), torch.zeros(6, 4))
    row_domain, column_domain = domains()
    with pytest.raises(TypeCheckError):
        similarity(rows, columns, row_domain[:1], column_domain)
    with pytest.raises(TypeCheckError):
        similarity(rows, columns, row_domain, column_domain.float())
