"""Random words become standard normal numbers, by the ziggurat of numpy."""

import numpy as np
from numpy.typing import NDArray

from embevo.analysis.compiled.compiling import compiled_as_written


@compiled_as_written
def number_words(
    words: NDArray[np.uint32],
    strips: tuple[NDArray[np.float32], NDArray[np.uint32], NDArray[np.float64], float],
    found: NDArray[np.float32],
    tail: tuple[NDArray[np.int64], NDArray[np.uint32]],
    done: NDArray[np.int64],
) -> bool:
    """Make numbers of words, up to where only numpy can tell, or more tail comes than there is room for.

    Args:
        words: no number is begun with the last 64.
        strips: of strips and of their mirror images: width of a place, places that are certain, and of the
            strips the height of the density at their edge; where the tail begins.
        found: gets the numbers, as many as there is room for; those of the tail are left out.
        tail: gets the places of these in ``found``, and the words that each is made of.
        done: words, numbers, numbers of the tail, words of the tail: as many as there are, and then as many
            as there will be.

    Returns:
        Whether what comes next is clear, or asked of numpy.
    """
    width, certain, heights, edge = strips
    at, of = tail
    word, number, tails, parts = done[0], done[1], done[2], done[3]
    # Of the rounding of float32, in heights and in the logarithms.
    margin = 1e-6
    scale = 2.0**-24
    stop = len(words) - 64
    clear = True
    while word < stop and number < len(found):
        strip = words[word] & np.uint32(511)
        place = words[word] >> np.uint32(9)
        value = np.float32(np.int32(place)) * width[strip]
        if place < certain[strip]:
            found[number] = value
            number += 1
            word += 1
            continue
        strip &= np.uint32(255)
        if strip:
            share = np.float64(words[word + 1] >> np.uint32(8)) * scale
            height = (heights[strip - 1] - heights[strip]) * share + heights[strip]
            density = np.exp(-0.5 * np.float64(value) * np.float64(value))
            if abs(height - density) <= margin * density:
                clear = False
                break
            if height < density:
                found[number] = value
                number += 1
            word += 2
            continue
        taken = 0
        for trial in range(1, 16, 2):
            beyond = np.log1p(-scale * np.float64(words[word + trial] >> np.uint32(8))) / edge
            height = -2 * np.log1p(-scale * np.float64(words[word + trial + 1] >> np.uint32(8)))
            if abs(height - beyond * beyond) <= margin * height:
                break
            if height > beyond * beyond:
                taken = trial + 2
                break
        if not taken:
            clear = False
            break
        if parts + taken > len(of):
            break
        of[parts : parts + taken] = words[word : word + taken]
        at[tails] = number
        parts += taken
        tails += 1
        number += 1
        word += taken
    done[0], done[1], done[2], done[3] = word, number, tails, parts
    return clear
