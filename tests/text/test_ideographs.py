from tokenizers.normalizers import BertNormalizer

from bertsmith.text.ideographs import RANGES, is_ideograph


def test_the_table_is_the_librarys() -> None:
    """Every character there is, in one string; the library puts spaces around its ideographs."""
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    library = BertNormalizer(
        clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=False
    )
    spaced = [f" {one} " if is_ideograph(one) else one for one in characters]
    assert library.normalize_str("".join(characters)) == "".join(spaced)
    assert list(RANGES) == sorted(RANGES)


def test_what_is_and_what_is_not() -> None:
    assert all(map(is_ideograph, "我㐀豈𠀀𪜀丽"))
    # Radicals, strokes, kana, Hangul, the ideographic space and zero, letters.
    assert not any(map(is_ideograph, "⺀⼀㇀あアｱ가\u3000〇ㄅaé，"))
