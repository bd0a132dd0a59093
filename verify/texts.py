"""Ids and quoted stretches of texts: the part of verify.py that needs the tokenizer (FORMAT.md, section 4)."""
import re

WHITE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))  # Unicode's
PLAIN = {c: chr(c).lower() for c in [*range(0x590), *range(0x1E00, 0x2000)]} | {0x3C2: "\u03c3", 0x2026: "...", 0x2212: "-"}
PLAIN |= dict.fromkeys([0xAD, *range(0x200B, 0x2010), 0x2060, 0xFEFF]) | dict.fromkeys(range(0x2010, 0x2016), "-")
PLAIN |= dict.fromkeys(range(0x2018, 0x201C), "'") | dict.fromkeys([0xAB, 0xBB, *range(0x201C, 0x2020)], '"')
PLAIN |= dict.fromkeys(map(ord, WHITE), " ")
LEADERS = re.compile("(^|[\n\r])[%s]*([>#*/\\-+|;%%])\\2*" % WHITE.replace("\n", "").replace("\r", ""))
ESCAPE = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\([\"'\\/nrt])"
                    r"|&#([0-9]{1,7});|&#[xX]([0-9a-fA-F]{1,6});|&(amp|lt|gt|quot|apos|nbsp);")
NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "nbsp": "\xa0", "n": "\n", "r": "\r", "t": "\t"}
def normalise(text):
    return " ".join(word for word in text.translate(PLAIN).split(" ") if word)
def character(escape):
    high, low, unit, one, decimal, hexadecimal, name = escape.groups()
    if high: return chr(0x10000 + (int(high, 16) - 0xD800 << 10) + int(low, 16) - 0xDC00)
    if one or name: return NAMED.get(one or name, one)
    code = int(decimal) if decimal else int(unit or hexadecimal, 16)
    return chr(code) if code < 0xD800 or 0xDFFF < code < 0x110000 else escape[0]
def forms(prompt):
    out = []
    for _ in range(4):
        once = LEADERS.sub(r"\1", prompt)
        out += map(normalise, [prompt, once, LEADERS.sub(r"\1", once)])
        undone = ESCAPE.sub(character, prompt)
        if undone == prompt: break
        prompt = undone
    return [*dict.fromkeys(out)]
class Texts:
    """Makes ids from texts again, by the package that publishes the tokenizer's format."""
    def __init__(self, raw):
        try: from tokenizers import Tokenizer
        except ImportError: raise ValueError("the package tokenizers is missing") from None
        try: self.tokenizer = Tokenizer.from_buffer(raw)
        except Exception: raise ValueError("the tokenizer cannot be read") from None
    def ids(self, text): return self.tokenizer.encode(text, add_special_tokens=False) if text else None
    def record(self, prompt, text, place):
        """The record of an answer: `quoted` are the stretches of which every neighbouring two tokens stand in the prompt."""
        asked, said, known, runs = self.ids(prompt), self.ids(text), {"": False}, []
        tokens, offsets, stand = (said.ids, said.offsets, forms(prompt)) if said and prompt else (said.ids if said else [], [], [])
        for i in range(len(offsets) - 1):
            two = normalise(text[offsets[i][0]:offsets[i + 1][1]])
            if two not in known: known[two] = any(two in form for form in stand)
            if known[two]: runs.append([runs.pop()[0] if runs and runs[-1][1] == i + 1 else i, i + 2])
        return {"prompt": prompt, "prompt_tokens": asked.ids if asked else [], "quoted": runs, "round": place, "text": text, "tokens": tokens}
