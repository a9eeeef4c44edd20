"""Whether a measured number is still what the text beside it speaks of."""

__all__ = ["expect"]


def expect(what: str, value: float, low: float, high: float) -> None:
    """Print a sentence where a measured value is outside of the band that a text was written for.

    Within the band nothing is printed, so a lecture's stored output is empty and nbval fails when a
    run leaves the band, while a reader who has changed something only reads why.

    Parameters
    ----------
    what : str
        What was measured, in words.
    value : float
        What this run gave.
    low, high : float
        Where the text stays true, both ends included.

    Raises
    ------
    ValueError
        If ``low`` is above ``high``.
    """
    if low > high:
        raise ValueError(f"the band of {what} goes from {low:g} up to {high:g}, which is below it")
    if not low <= value <= high:  # NaN is outside, too
        print(
            f"Here the {what} is {value:.3g}. The text was written for {low:g} to {high:g}: "
            "if you have changed something, judge its sentences by your own number."
        )
