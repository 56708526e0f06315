"""Sphinx pages become plain Markdown."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axk1.data.restructuredtext import clean_restructuredtext

PAGE = """
===========
Aggregation
===========

.. currentmodule:: django.db.models

.. _a-target:

The topic guide on :doc:`Django's
database API </topics/db/queries>` described :class:`~django.db.models.Field`
and ``literal <text>``, see `the site <https://example.com>`_ and :ref:`field-types`\\s. [1]_

.. note::

    Fields of :pep:`8` are in :mod:`django.db`. Fixed in :ticket:`123`.

.. toctree::
   :hidden:

   intro

Section
=======

.. method:: QuerySet.filter(*args)
            QuerySet.exclude(*args)
    :noindex:

    .. versionadded:: 5.0

    Returns a thing. For example::

        >>> filter(a=1)


        [<Thing: 1>]

    * an item that
      goes on

      .. code-block:: pycon

          >>> x

    * another

.. versionchanged:: 5.1

   It was renamed.

.. comment that nobody reads
   on two lines

.. admonition:: A title

   Its text.

====== =====
Name   Value
====== =====
a      1
====== =====

.. [1] A footnote.

__ https://anonymous.example

>>> doctest(1)
1

The end_ of |it|.
"""


def test_a_page_is_read_as_a_person_reads_it():
    assert clean_restructuredtext(PAGE) == (
        "# Aggregation\n\n"
        "The topic guide on Django's database API described `Field` and `literal <text>`, see the site and "
        "field typess.\n\n"
        "Note: Fields of PEP 8 are in `django.db`. Fixed in #123.\n\n"
        "## Section\n\n"
        "`QuerySet.filter(*args)`\n\n`QuerySet.exclude(*args)`\n\n"
        "New in version 5.0.\n\n"
        "Returns a thing. For example:\n\n```\n>>> filter(a=1)\n\n\n[<Thing: 1>]\n```\n\n"
        "* an item that goes on\n\n  ```pycon\n  >>> x\n  ```\n\n* another\n\n"
        "Changed in version 5.1: It was renamed.\n\n"
        "A title\n\nIts text.\n\n"
        "Name   Value\na      1\n\n"
        "A footnote.\n\n"
        "```pycon\n>>> doctest(1)\n1\n```\n\n"
        "The end of it."
    )


@pytest.mark.parametrize("left_over", ["::", ":ref:", ":doc:", "``", ".. ", "_`", "`_", "====", "toctree", "target"])
def test_nothing_that_only_sphinx_understands_is_left(left_over):
    assert left_over not in re.sub(r"```.*?```", "", clean_restructuredtext(PAGE), flags=re.S)


@pytest.mark.parametrize(
    ("markup", "plain"),
    [
        (":meth:`.Field.clean`", "`Field.clean`"),
        (":py:func:`!compile`", "`compile`"),
        (":setting:`DEBUG`", "`DEBUG`"),
        (":rfc:`9110#section-9.2.1`", "RFC 9110#section-9.2.1"),
        (":ref:`how to upgrade <howto>`", "how to upgrade"),
        (":class:`~a.B`\\s", "`B`s"),
        ("`name`_ and `other name`__", "name and other name"),
        ("an ``__init__`` and a_b_c and _private", "an `__init__` and a_b_c and _private"),
        ("5 * 3 * 2 and *emphasis*", "5 * 3 * 2 and *emphasis*"),
        ("``a`b``", "`` a`b ``"),
        ("Path C:\\\\x", "Path C:\\x"),
    ],
)
def test_inline_markup(markup, plain):
    assert clean_restructuredtext(markup) == plain


def test_heading_levels_follow_their_first_use():
    page = "Top\n===\n\nPart\n---\n\nChapter\n~~~~~~~\n\nPart two\n--------"
    assert clean_restructuredtext(page) == "# Top\n\n## Part\n\n### Chapter\n\n## Part two"


def test_code_with_fences_is_fenced_more_strongly():
    assert clean_restructuredtext("So::\n\n    ```\n    x\n    ```\n") == "So:\n\n````\n```\nx\n```\n````"


# fmt: off
PIECES = (
    "::", "..", ".. note::", ".. code-block:: x", "\n", "\n\n", "    ", "  ", "===", "---", "``", "`", "`_", ":ref:`a`",
    ":a:", "* ", "1. ", ">>> x", "|a|", "[1]_", ".. [1]", "__", "\\", "====  ===", "text", "한글", "\x02", "0\x03",
    "<a>", "\t",
)
# fmt: on
MARKUP = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@settings(max_examples=200, deadline=2000)
@given(MARKUP | st.text(max_size=300))
def test_any_text_is_cleaned_without_an_error(text):
    cleaned = clean_restructuredtext(text)
    assert "\x02" not in cleaned
    assert "\x03" not in cleaned


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.text(alphabet="abcd가나", min_size=2, max_size=9), min_size=1, max_size=30), max_size=5))
def test_wrapped_paragraphs_are_joined(paragraphs):
    text = "\n\n".join("\n".join(words) for words in paragraphs)
    assert clean_restructuredtext(text) == "\n\n".join(" ".join(words) for words in paragraphs)
