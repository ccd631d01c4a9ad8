"""Names of classes and folders in pictures."""


def plain_text(text: str) -> str:
    r"""Return what makes Matplotlib show ``text`` as it is, whatever a folder or a class is called.

    Two dollar signs would make a formula of the text between them; what UTF-8 cannot encode would raise.

    >>> print(plain_text("$5 or $10"), plain_text("caf\udce9"))
    \$5 or \$10 caf\udce9
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("$", r"\$")
