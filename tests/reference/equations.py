"""The equations as plain loops in float64, written from the paper's reconstruction and not from our code.

They are slow and literal on purpose: the vectorised objectives are compared with them. `match[i, j]` says that text i
and image j belong together. Where a match id repeats: mean over a row's selected columns, then over all rows.
"""

import math

import numpy as np

Array = np.ndarray


def normalise(vectors: Array) -> Array:
    return np.stack([vector / math.sqrt(sum(x * x for x in vector)) for vector in vectors])


def numeric_gradient(function, at: Array, step: float = 1e-5) -> Array:
    """Central differences of a scalar function of one array, entry by entry."""
    gradient = np.zeros_like(at, dtype=np.float64)
    for index in np.ndindex(at.shape):
        above, below = at.astype(np.float64), at.astype(np.float64)
        above[index] += step
        below[index] -= step
        gradient[index] = (function(above) - function(below)) / (2 * step)
    return gradient


def mean_per_row(value, where: Array, rows=None) -> float:
    """Mean of value(i, j) over the selected j of each i, then over all i. An i without any counts 0.

    `rows` are the anchors that one rank holds, by default all.
    """
    rows = range(where.shape[0]) if rows is None else rows
    total = 0.0
    for i in rows:
        selected = [value(i, j) for j in range(where.shape[1]) if where[i, j]]
        total += sum(selected) / len(selected) if selected else 0.0
    return total / len(rows)


# Contrast


def eq1_similarity(text: Array, image: Array) -> Array:
    out = np.zeros((len(text), len(image)))
    for i in range(len(text)):
        for j in range(len(image)):
            out[i, j] = sum(a * b for a, b in zip(text[i], image[j], strict=True))
    return out


def eq2_info_nce(similarity: Array, tau: float) -> float:
    """As printed: row i belongs to column i. Eq. (4) is the same on the augmented images' matrix."""
    num = len(similarity)
    total = 0.0
    for i in range(num):
        denominator = sum(math.exp(similarity[i, j] / tau) for j in range(num))
        total += math.log(math.exp(similarity[i, i] / tau) / denominator)
    return -total / num


def eq3_clip(similarity: Array, tau: float) -> float:
    return 0.5 * (eq2_info_nce(similarity, tau) + eq2_info_nce(similarity.T, tau))


def info_nce(logits: Array, match: Array) -> float:
    """Section 3.3: several matches in a row, each on its own against the non-matches."""
    return mp_nce(logits, match, ~match, np.ones_like(logits))


def mp_nce(logits: Array, positive: Array, negative: Array, weight: Array) -> float:
    num_anchors, num_candidates = logits.shape
    total = 0.0
    for i in range(num_anchors):
        positives = [p for p in range(num_candidates) if positive[i, p]]
        negatives = [n for n in range(num_candidates) if negative[i, n]]
        anchor = 0.0
        for p in positives:
            numerator = math.exp(logits[i, p])
            denominator = numerator + sum(math.exp(logits[i, n]) for n in negatives)
            anchor -= weight[i, p] * math.log(numerator / denominator)
        total += anchor / len(positives) if positives else 0.0
    return total / num_anchors


def eq5_mp_nce(image: Array, text: Array, aug: Array, tau: float) -> tuple[float, float]:
    """The 3N embeddings {image, text, aug}: the terms of originals, and all terms with an augmented view."""
    members = [(i, "image", z) for i, z in enumerate(image)]
    members += [(i, "text", z) for i, z in enumerate(text)]
    members += [(i, "aug", z) for i, z in enumerate(aug)]
    original, augmented = 0.0, 0.0
    for sample, domain, z in members:
        positives = [other for other in members if other[0] == sample]
        negatives = [other for other in members if other[0] != sample]
        denominator = sum(math.exp(float(z @ n[2]) / tau) for n in negatives)
        for p in positives:
            s = math.exp(float(z @ p[2]) / tau)
            term = -math.log(s / (s + denominator)) / len(positives) / len(members)
            if domain == "aug" or p[1] == "aug":
                augmented += term
            else:
                original += term
    return original, augmented


# Log-ratio distillation


def distance(a: Array, b: Array, floor: float = 1e-3) -> float:
    return max(floor, math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True))))


def eq6_log_ratio(student_ab: float, student_cd: float, teacher_ab: float, teacher_cd: float) -> float:
    return (math.log(student_ab / student_cd) - math.log(teacher_ab / teacher_cd)) ** 2


class Distances:
    """d and d' of student and teacher: [i, j] is text i to image j. The text is the student's on both sides."""

    def __init__(self, text: Array, image: Array, aug: Array, teacher_image: Array, teacher_aug: Array):
        def table(images: Array) -> Array:
            return np.array([[distance(t, v) for v in images] for t in text])

        self.d, self.d_aug = table(image), table(aug)
        self.teacher_d, self.teacher_d_aug = table(teacher_image), table(teacher_aug)

    def misaligned(self, i: int, j: int) -> float:
        return eq6_log_ratio(self.d[i, j], self.d_aug[i, j], self.teacher_d[i, j], self.teacher_d_aug[i, j])

    def pair_against_pair(self, a: tuple[int, int], b: tuple[int, int]) -> float:
        return eq6_log_ratio(self.d[a], self.d[b], self.teacher_d[a], self.teacher_d[b])


def eq7_positive(distances: Distances, match: Array, rows=None) -> float:
    return mean_per_row(distances.misaligned, match, rows)


def eq8_negative(distances: Distances, match: Array, rows=None) -> float:
    return mean_per_row(distances.misaligned, ~match, rows)


def eq9_own_against_other_printed(distances: Distances) -> float:
    """As printed, with distinct samples: text i against the images j, then image i against the texts j."""
    num = len(distances.d)
    total = 0.0
    for i in range(num):
        for j in range(num):
            if i != j:
                total += distances.pair_against_pair((i, i), (i, j))
                total += distances.pair_against_pair((i, i), (j, i))
    return total / (2 * num * (num - 1))


def eq9_own_against_other(distances: Distances, match: Array, rows=None) -> float:
    """With repeated match ids: the two ratios of the pair (i, j), against i's own pair and against j's own pair."""

    def value(i: int, j: int) -> float:
        text_anchor = distances.pair_against_pair((i, i), (i, j))
        image_anchor = distances.pair_against_pair((j, j), (i, j))
        return (text_anchor + image_anchor) / 2

    return mean_per_row(value, ~match, rows)


def eq9_own_against_own(distances: Distances, match: Array, rows=None) -> float:
    return mean_per_row(lambda i, j: distances.pair_against_pair((i, i), (j, j)), ~match, rows)


def eq10_distill(distances: Distances, match: Array, noisy=eq9_own_against_other) -> float:
    return eq7_positive(distances, match) + eq8_negative(distances, match) + noisy(distances, match)


# Masked language, momentum, total


def eq11_masked_language(logits: Array, labels: Array) -> float:
    """logits (B, L, V), labels (B, L) with -100 where not masked. 0 if nothing is masked at all."""
    total, num_masked = 0.0, 0
    for b in range(labels.shape[0]):
        for position in range(labels.shape[1]):
            if labels[b, position] == -100:
                continue
            row = logits[b, position]
            total -= math.log(math.exp(row[labels[b, position]]) / sum(math.exp(x) for x in row))
            num_masked += 1
    return total / num_masked if num_masked else 0.0


def eq12_momentum(step: int, num_steps: int, start: float) -> float:
    return 1 - (1 - start) * (1 + math.cos(math.pi * step / num_steps)) / 2


def eq12_update(teacher: float, student: float, momentum: float) -> float:
    return momentum * teacher + (1 - momentum) * student


def eq13_alpha(step: int, num_steps: int) -> float:
    return (1 - math.cos(math.pi * step / num_steps)) / 2


def eq13_total(
    contrast_original: float, contrast_aug: float, distill: float, mlm: float, alpha: float, beta: float
) -> float:
    return contrast_original + (1 - alpha) * contrast_aug + alpha * distill + beta * mlm


# Self-supervision


def nt_xent(across: Array, within: Array, match: Array, rows=None) -> float:
    """SimCLR's Eq. 1 for one view's anchors. Matches in the anchors' own view (the anchor itself) are left out."""

    def value(i: int, p: int) -> float:
        denominator = math.exp(across[i, p])
        for n in range(match.shape[1]):
            if not match[i, n]:
                denominator += math.exp(across[i, n]) + math.exp(within[i, n])
        return -math.log(math.exp(across[i, p]) / denominator)

    return mean_per_row(value, match, rows)


def simclr(one: Array, other: Array, tau: float) -> float:
    """As printed, over the 2N views of N images: every view against all others except itself."""
    views, num = np.concatenate([one, other]), len(one)
    total = 0.0
    for i in range(2 * num):
        partner = (i + num) % (2 * num)
        denominator = sum(math.exp(float(views[i] @ views[k]) / tau) for k in range(2 * num) if k != i)
        total -= math.log(math.exp(float(views[i] @ views[partner]) / tau) / denominator)
    return total / (2 * num)


def negative_cosine(prediction: Array, target: Array) -> float:
    total = 0.0
    for p, z in zip(prediction, target, strict=True):
        lengths = math.sqrt(sum(x * x for x in p)) * math.sqrt(sum(x * x for x in z))
        total -= sum(x * y for x, y in zip(p, z, strict=True)) / lengths
    return total / len(prediction)


def head(rows: Array, maps: list[tuple[Array, Array]], norms: list[tuple[Array, Array]], last_norm=None) -> Array:
    """Linear maps (weight, bias) with BatchNorm (scale, shift) and ReLU between them, sample by sample."""
    for number, (weight, bias) in enumerate(maps):
        rows = np.array([weight @ row + bias for row in rows])
        last = number == len(maps) - 1
        norm = last_norm if last else norms[number]
        if norm is not None:
            columns = []
            for column, scale, shift in zip(rows.T, *norm, strict=True):
                mean = sum(column) / len(column)
                variance = sum((x - mean) ** 2 for x in column) / len(column)
                columns.append([scale * (x - mean) / math.sqrt(variance + 1e-5) + shift for x in column])
            rows = np.array(columns).T
        if not last:
            rows = np.where(rows > 0, rows, 0.0)
    return rows


# UniCLIP


def domain_logits(members: list[tuple[int, str, Array]], tau: Array, offset: Array) -> Array:
    """(cosine - b_D) / tau_D of every pair of (match id, domain, vector) members. D counts the texts in a pair."""
    logits = np.zeros((len(members), len(members)))
    for i, (_, one, a) in enumerate(members):
        for j, (_, other, b) in enumerate(members):
            pair = (one == "text") + (other == "text")
            logits[i, j] = (sum(x * y for x, y in zip(a, b, strict=True)) - offset[pair]) / tau[pair]
    return logits


def uniclip(
    image: Array, text: Array, aug: Array, match_ids: Array, tau: Array, offset: Array, pair_weight: Array
) -> float:
    """P_i is every member with i's match id, including i, each on its own against all negatives."""
    members = [(m, "image", z) for m, z in zip(match_ids, image, strict=True)]
    members += [(m, "text", z) for m, z in zip(match_ids, text, strict=True)]
    members += [(m, "image", z) for m, z in zip(match_ids, aug, strict=True)]
    s = domain_logits(members, tau, offset)
    total = 0.0
    for i, (match_id, domain, _) in enumerate(members):
        positives = [p for p, other in enumerate(members) if other[0] == match_id]
        negatives = sum(math.exp(s[i, n]) for n, other in enumerate(members) if other[0] != match_id)
        anchor = 0.0
        for p in positives:
            weight = pair_weight[(domain == "text") + (members[p][1] == "text")]
            anchor -= weight * math.log(math.exp(s[i, p]) / (math.exp(s[i, p]) + negatives))
        total += anchor / len(positives)
    return total / len(members)


def gelu(x: float) -> float:
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def augmentation_block(hidden: Array, deviation: Array, weights: dict[str, Array]) -> Array:
    """h + G(a) * MLP(LN(h)) of one sample. Both are two maps around a GELU: G without bias, MLP with bias."""

    def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
        products = [sum(w * value for w, value in zip(row, x, strict=True)) for row in weight]
        return np.array(products) + (0 if bias is None else bias)

    def gelus(x: Array) -> Array:
        return np.array([gelu(value) for value in x])

    gate = linear(gelus(linear(deviation, weights["gate.0.weight"])), weights["gate.2.weight"])
    normal = (hidden - hidden.mean()) / math.sqrt(((hidden - hidden.mean()) ** 2).mean() + 1e-5)
    inner = linear(
        normal * weights["mlp.0.weight"] + weights["mlp.0.bias"], weights["mlp.1.weight"], weights["mlp.1.bias"]
    )
    return hidden + gate * linear(gelus(inner), weights["mlp.3.weight"], weights["mlp.3.bias"])


# Readings of Eqs. (6), (8), (9) and (13)

RHO = {
    "squared": lambda x: x * x,
    "absolute": lambda x: -x if x < 0 else x,
    "huber": lambda x: x * x / 2 if -1 <= x <= 1 else max(x, -x) - 0.5,
}


def log_ratio_difference(student: tuple[float, float], teacher: tuple[float, float]) -> float:
    return math.log(student[0] / student[1]) - math.log(teacher[0] / teacher[1])


def reading(name: str, distances: Distances, match: Array, rows=None, rho="squared") -> float:
    """Any distillation term by the name of its reading, as the ratio of two distances that the name describes."""
    d, d_aug, teacher, teacher_aug = distances.d, distances.d_aug, distances.teacher_d, distances.teacher_d_aug
    penalty = RHO[rho]

    def same_pair(i, j):
        return penalty(log_ratio_difference((d[i, j], d_aug[i, j]), (teacher[i, j], teacher_aug[i, j])))

    def aug_own_against_other(i, j):
        return penalty(log_ratio_difference((d_aug[j, j], d_aug[i, j]), (teacher_aug[j, j], teacher_aug[i, j])))

    def own_against_aug_other(i, j):
        return penalty(log_ratio_difference((d[i, i], d_aug[i, j]), (teacher[i, i], teacher_aug[i, j])))

    def own_against_other(i, j):
        from_text = penalty(log_ratio_difference((d[i, i], d[i, j]), (teacher[i, i], teacher[i, j])))
        from_image = penalty(log_ratio_difference((d[j, j], d[i, j]), (teacher[j, j], teacher[i, j])))
        return (from_text + from_image) / 2

    def own_against_own(i, j):
        return penalty(log_ratio_difference((d[i, i], d[j, j]), (teacher[i, i], teacher[j, j])))

    if name == "positive":
        return mean_per_row(same_pair, match, rows)
    if name == "teacher_ranks":
        noisier = np.array([[teacher[i, i] > teacher[j, j] for j in range(len(d))] for i in range(len(d))])
        return mean_per_row(own_against_own, ~match & noisier, rows)
    value = {f.__name__: f for f in (same_pair, aug_own_against_other, own_against_aug_other)}
    value |= {f.__name__: f for f in (own_against_other, own_against_own)}
    return mean_per_row(value[name], ~match, rows)


def fading(
    name: str, logits: Array, positive: Array, anchor_is_aug: Array, member_is_aug: Array, alpha: float
) -> float:
    ones = np.ones_like(logits)
    if name == "augmented_terms":
        weight = ones.copy()
        for i in range(logits.shape[0]):
            for j in range(logits.shape[1]):
                if anchor_is_aug[i] or member_is_aug[j]:
                    weight[i, j] = 1 - alpha
        return mp_nce(logits, positive, ~positive, weight)
    whole = mp_nce(logits, positive, ~positive, ones)
    if name == "two_sets":
        anchors = [i for i in range(logits.shape[0]) if not anchor_is_aug[i]]
        members = [j for j in range(logits.shape[1]) if not member_is_aug[j]]
        s, p = logits[anchors][:, members], positive[anchors][:, members]
        return (1 - alpha) * whole + alpha * mp_nce(s, p, ~p, np.ones_like(s))
    return {"whole_contrast": 1 - alpha, "unfaded": 1.0}[name] * whole


def soft_alignment(logits: Array, teacher_logits: Array) -> float:
    total = 0.0
    for s, t in zip(logits, teacher_logits, strict=True):
        p, q = ([math.exp(x) / sum(math.exp(y) for y in row) for x in row] for row in (s, t))
        total += sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
    return total / len(logits)


def albef_targets(teacher_logits: Array, share: float) -> Array:
    """ALBEF: share x the teacher's softmax + (1 - share) x one-hot on the diagonal."""
    targets = np.zeros_like(teacher_logits)
    for i, row in enumerate(teacher_logits):
        total = sum(math.exp(x) for x in row)
        for j, x in enumerate(row):
            targets[i, j] = share * math.exp(x) / total + (1 - share) * (i == j)
    return targets


def soft_target_nce(logits: Array, teacher_logits: Array, positive: Array, negative: Array, share: float) -> float:
    """ALBEF's cross-entropy for every positive among itself and the row's negatives."""
    total = 0.0
    for i in range(logits.shape[0]):
        terms = []
        negatives = [j for j in range(logits.shape[1]) if negative[i, j]]
        for p in range(logits.shape[1]):
            if positive[i, p]:
                candidates = [p, *negatives]
                student, teacher = (
                    [math.exp(x[i, j]) / sum(math.exp(x[i, k]) for k in candidates) for j in candidates]
                    for x in (logits, teacher_logits)
                )
                targets = [share * q + (1 - share) * (j == p) for j, q in zip(candidates, teacher, strict=True)]
                terms.append(-sum(y * math.log(r) for y, r in zip(targets, student, strict=True)))
        total += sum(terms) / len(terms) if terms and negatives else 0.0
    return total / logits.shape[0]


def soft_alignments(unit: dict[str, Array], frozen: dict[str, Array], scale: float) -> float:
    """Mean over both views and both directions. The teacher's side comes from `frozen`."""
    losses = []
    for view in ("image", "aug"):
        student = scale * eq1_similarity(unit["text"], unit[view])
        teacher = scale * eq1_similarity(frozen["text"], frozen[f"teacher_{view}"])
        losses += [soft_alignment(student, teacher), soft_alignment(student.T, teacher.T)]
    return sum(losses) / 4


# SigLIP


def pairwise_sigmoid(logits: Array, match: Array) -> float:
    total = 0.0
    for i in range(logits.shape[0]):
        for j in range(logits.shape[1]):
            z = 1 if match[i, j] else -1
            total += math.log(1 + math.exp(-z * logits[i, j]))
    return total / logits.shape[0]


def running_mean(logits: Array, own: Array, match: Array, u: Array, gamma: float) -> Array:
    """FastCLIP's u of each row after this batch; 0 is a row that was never seen."""
    out = np.array(u, dtype=np.float64)
    for i in range(len(logits)):
        others = [math.exp(logits[i, n] - own[i]) for n in range(logits.shape[1]) if not match[i, n]]
        if others:
            g = sum(others) / len(others)
            out[i] = g if u[i] == 0 else (1 - gamma) * u[i] + gamma * g
    return out


def global_contrast(logits: Array, own: Array, match: Array, u: Array, eps: float) -> tuple[float, Array]:
    """The mean of log(eps + u), and the gradient of the mean of g / (eps + u) with u held, by hand."""
    rows, columns = logits.shape
    total, gradient = 0.0, np.zeros((rows, columns))
    for i in range(rows):
        positives = [p for p in range(columns) if match[i, p]]
        negatives = [n for n in range(columns) if not match[i, n]]
        for p in positives if negatives else []:
            share = 1 / (rows * len(positives))
            of_p = u[i] * math.exp(own[i] - logits[i, p])
            total += share * math.log(eps + of_p)
            for n in negatives:
                slope = math.exp(logits[i, n] - logits[i, p]) / len(negatives) / (eps + of_p)
                gradient[i, n] += share * slope
                gradient[i, p] -= share * slope
    return total, gradient


# How embeddings lie on the sphere


def effective_rank(rows: Array) -> float:
    """Roy & Vetterli (2007), by the singular values themselves."""
    singular = np.linalg.svd(rows, compute_uv=False)
    shares = [s / sum(singular) for s in singular]
    return math.exp(-sum(p * math.log(p) for p in shares if p > 0))


def modality_gap(image: Array, text: Array) -> float:
    """Liang et al. (2022), Sec. 3: the norm of the difference of the two centres."""
    difference = [sum(image[:, d]) / len(image) - sum(text[:, d]) / len(text) for d in range(image.shape[1])]
    return math.sqrt(sum(x * x for x in difference))


def uniformity(rows: Array, t: float = 2.0) -> float:
    """Wang & Isola (2020), L_uniform, over all pairs of different rows."""
    pairs = [(i, j) for i in range(len(rows)) for j in range(i + 1, len(rows))]
    values = [math.exp(-t * sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True))) for i, j in pairs]
    return math.log(sum(values) / len(values))


def alignment(image: Array, text: Array, match: Array) -> float:
    """Wang & Isola (2020), L_align with exponent 2, over the images that have a text."""

    def squared(i, j):
        return sum((a - b) ** 2 for a, b in zip(image[i], text[j], strict=True))

    return mean_per_row(lambda i, j: squared(i, j), match, None) * len(image) / sum(row.any() for row in match)
