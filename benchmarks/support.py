"""Episodes whose supports are changed, to see what predictions rest on."""

from __future__ import annotations

import dataclasses

from tanp import Episodes

SIZES = (1, 2, 5, 10, 20)


def sizes_of(episodes: Episodes) -> list[int]:
    """Support sizes to compare, up to what all tasks have."""
    most = int(episodes.num_support.min())
    return sorted({size for size in SIZES if size < most} | {most})


def flipped(episodes: Episodes) -> Episodes:
    """Every support label is mirrored: 1 becomes 0, five stars become one."""
    low, high = episodes.label.aminmax()
    label, index = episodes.label.clone(), episodes.support_index()
    label[index] = low + high - label[index]
    return dataclasses.replace(episodes, label=label)


def swapped(episodes: Episodes) -> Episodes:
    """Every task has the support of the task before it.

    Raises:
        ValueError: If supports are not of one size, or there is but one task.
    """
    sizes = episodes.num_support.unique()
    if len(sizes) != 1 or len(episodes) < 2:
        raise ValueError(
            f"'episodes' must be two or more tasks with supports of one size (got "
            f'{len(episodes)} of sizes {sizes.tolist()})'
        )
    index = episodes.support_index()
    other = index.view(len(episodes), -1).roll(1, 0).flatten()
    item, label = episodes.item.clone(), episodes.label.clone()
    item[index], label[index] = episodes.item[other], episodes.label[other]
    return dataclasses.replace(episodes, item=item, label=label)


CHANGES = {'flipped_labels': flipped, 'another_user': swapped}


def truncated(episodes: Episodes) -> dict[str, Episodes]:
    """The same queries after supports of each size."""
    return {str(k): episodes.with_support_size(k) for k in sizes_of(episodes)}
