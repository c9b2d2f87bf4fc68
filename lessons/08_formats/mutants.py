"""Wrong answers to the exercises of lesson 08, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("08.1", "reads from the wrong end", "You took the mantissa from the left. The order is sign, exponent, mantissa, and the mantissa "
           "is the last m bits.", '''
def fields(bits, e, m):
    return bits & 1, (bits >> 1) & (2 ** e - 1), bits >> (1 + e)
'''),
    Mutant("08.1", "keeps the sign in the exponent", "Your exponent field still has the sign bit on its left: keep its last e bits only.", '''
def fields(bits, e, m):
    return bits >> (e + m), bits >> m, bits & (2 ** m - 1)
'''),
    Mutant("08.1", "removes the bias already", "You subtracted the bias. The field is what is stored; the bias belongs to decoding.", '''
def fields(bits, e, m):
    return bits >> (e + m), ((bits >> m) & (2 ** e - 1)) - (2 ** (e - 1) - 1), bits & (2 ** m - 1)
'''),
    Mutant("08.1", "exchanges e and m", "You cut m bits for the exponent and e for the mantissa.", '''
def fields(bits, e, m):
    return bits >> (e + m), (bits >> e) & (2 ** m - 1), bits & (2 ** e - 1)
'''),
    Mutant("08.2", "forgets the hidden one", "A normal number is 1 + mantissa/2^m times a power of two. The leading 1 is not stored, but it "
           "is there.", '''
def decode(sign, exponent, mantissa, e, m):
    bias = 2 ** (e - 1) - 1
    if exponent == 2 ** e - 1:
        size = np.inf if mantissa == 0 else np.nan
    elif exponent == 0:
        size = mantissa * 2.0 ** (1 - bias - m)
    else:
        size = mantissa / 2 ** m * 2.0 ** (exponent - bias)
    return -size if sign else size
'''),
    Mutant("08.2", "has no subnormals", "With exponent field 0 there is no hidden 1: those are the subnormal numbers, and zero is one of them.", '''
def decode(sign, exponent, mantissa, e, m):
    bias = 2 ** (e - 1) - 1
    if exponent == 2 ** e - 1:
        size = np.inf if mantissa == 0 else np.nan
    else:
        size = (1 + mantissa / 2 ** m) * 2.0 ** (exponent - bias)
    return -size if sign else size
'''),
    Mutant("08.2", "makes subnormals half as large", "Subnormals have the exponent of the smallest normal numbers, 1 - bias, not 0 - bias. "
           "Otherwise there would be a gap between the two.", '''
def decode(sign, exponent, mantissa, e, m):
    bias = 2 ** (e - 1) - 1
    if exponent == 2 ** e - 1:
        size = np.inf if mantissa == 0 else np.nan
    elif exponent == 0:
        size = mantissa * 2.0 ** (0 - bias - m)
    else:
        size = (1 + mantissa / 2 ** m) * 2.0 ** (exponent - bias)
    return -size if sign else size
'''),
    Mutant("08.2", "counts on past the largest", "The exponent field of ones is not one more power of two: it holds infinity and NaN. (fp8_e4m3 "
           "does give it to numbers; the formats here do not.)", '''
def decode(sign, exponent, mantissa, e, m):
    bias = 2 ** (e - 1) - 1
    if exponent == 0:
        size = mantissa * 2.0 ** (1 - bias - m)
    else:
        size = (1 + mantissa / 2 ** m) * 2.0 ** (exponent - bias)
    return -size if sign else size
'''),
    Mutant("08.2", "takes every special for infinity", "The exponent field of ones means infinity only where the mantissa is 0; every other "
           "mantissa is a NaN.", '''
def decode(sign, exponent, mantissa, e, m):
    bias = 2 ** (e - 1) - 1
    if exponent == 2 ** e - 1:
        size = np.inf
    elif exponent == 0:
        size = mantissa * 2.0 ** (1 - bias - m)
    else:
        size = (1 + mantissa / 2 ** m) * 2.0 ** (exponent - bias)
    return -size if sign else size
'''),
    Mutant("08.2", "takes 2^(e-1) for the bias", "The bias is 2^(e-1) - 1: 15 for fp16, 127 for float32. Yours is one more, so that every number "
           "comes out at half its size.", '''
def decode(sign, exponent, mantissa, e, m):
    bias = 2 ** (e - 1)
    if exponent == 2 ** e - 1:
        size = np.inf if mantissa == 0 else np.nan
    elif exponent == 0:
        size = mantissa * 2.0 ** (1 - bias - m)
    else:
        size = (1 + mantissa / 2 ** m) * 2.0 ** (exponent - bias)
    return -size if sign else size
'''),
    Mutant("08.2", "drops the sign", "Your answer is never negative.", '''
def decode(sign, exponent, mantissa, e, m):
    bias = 2 ** (e - 1) - 1
    if exponent == 2 ** e - 1:
        return np.inf if mantissa == 0 else np.nan
    if exponent == 0:
        return mantissa * 2.0 ** (1 - bias - m)
    return (1 + mantissa / 2 ** m) * 2.0 ** (exponent - bias)
'''),
    Mutant("08.2", "gives zero no sign", "There are two zeros. With the sign bit set it is −0.0, which counts as equal to 0.0 "
           "but divides to −∞.", '''
def decode(sign, exponent, mantissa, e, m):
    s, bias = (-1.0 if sign else 1.0), 2 ** (e - 1) - 1
    if exponent == 2 ** e - 1:
        return s * np.inf if mantissa == 0 else np.nan
    if exponent == 0:
        return s * mantissa / 2 ** m * 2.0 ** (1 - bias) if mantissa else 0.0
    return s * (1 + mantissa / 2 ** m) * 2.0 ** (exponent - bias)
'''),
    Mutant("08.3", "makes it proportional to x", "You returned |x|·2^-m. The step is constant between two powers of two, and jumps to double at "
           "each of them.", '''
def spacing(x, e, m):
    emin, _ = limits(e, m)
    return np.maximum(np.abs(x), 2.0 ** emin) * 2.0 ** -m
'''),
    Mutant("08.3", "takes frexp's exponent as it is", "np.frexp has its fraction between ½ and 1, a floating-point number between 1 and 2: your E is "
           "one too large.", '''
def spacing(x, e, m):
    emin, _ = limits(e, m)
    k = np.frexp(x)[1]
    return 2.0 ** (np.where(x == 0, emin, np.maximum(k, emin)) - m)
'''),
    Mutant("08.3", "lets the step shrink for ever", "Below 2^emin the exponent cannot fall any further: the subnormals lie in equal steps of "
           "2^(emin - m).", '''
def spacing(x, e, m):
    emin, _ = limits(e, m)
    k = np.frexp(x)[1]
    return 2.0 ** (np.where(x == 0, emin, k - 1) - m)
'''),
    Mutant("08.3", "trusts the logarithm", "Just below a power of two np.log2 rounds up to the whole number, and the step comes out twice too "
           "large. np.frexp reads the exponent exactly.", '''
def spacing(x, e, m):
    emin, _ = limits(e, m)
    return 2.0 ** (np.maximum(np.floor(np.log2(np.abs(x))), emin) - m)
'''),
    Mutant("08.3", "forgets zero", "np.frexp(0) gives exponent 0, as for a number near 1. But next to 0 lie the subnormals, the smallest steps "
           "of all.", '''
def spacing(x, e, m):
    emin, _ = limits(e, m)
    return 2.0 ** (np.maximum(np.frexp(x)[1] - 1, emin) - m)
'''),
    Mutant("08.3", "gives eps everywhere", "2^-m is the step between 1 and 2. Elsewhere it is larger or smaller: that is what floating means.", '''
def spacing(x, e, m):
    return np.full(np.shape(x), 2.0 ** -m)
'''),
    Mutant("08.4", "rounds the middle up", "From the middle between two multiples you always went up. Ties go to the even multiple, so that errors "
           "do not add up in one direction.", '''
def round_even(x, step, largest):
    y = np.floor(x / step + 0.5) * step
    return np.where(np.abs(y) > largest, np.copysign(np.inf, y), y)
'''),
    Mutant("08.4", "rounds the middle away from zero", "From the middle you went away from zero, as in school. Ties go to the even multiple.", '''
def round_even(x, step, largest):
    y = np.copysign(np.floor(np.abs(x) / step + 0.5), x) * step
    return np.where(np.abs(y) > largest, np.copysign(np.inf, y), y)
'''),
    Mutant("08.4", "cuts", "You cut off what does not fit. The nearest multiple may be the one above.", '''
def round_even(x, step, largest):
    y = np.trunc(x / step) * step
    return np.where(np.abs(y) > largest, np.copysign(np.inf, y), y)
'''),
    Mutant("08.4", "stops at the largest number", "You gave the largest number where the result exceeds it. That is saturation; the formats here "
           "overflow to infinity.", '''
def round_even(x, step, largest):
    return np.clip(np.rint(x / step) * step, -largest, largest)
'''),
    Mutant("08.4", "asks for overflow before rounding", "65519 is larger than 65504, but it rounds down to it. Round first, then compare.", '''
def round_even(x, step, largest):
    return np.where(np.abs(x) > largest, np.copysign(np.inf, x), np.rint(x / step) * step)
'''),
    Mutant("08.4", "loses the sign of infinity", "What overflows below -largest becomes minus infinity.", '''
def round_even(x, step, largest):
    y = np.rint(x / step) * step
    return np.where(np.abs(y) > largest, np.inf, y)
'''),
    Mutant("08.4", "never overflows", "Nothing became infinite. Where the rounded number exceeds largest the format has no number "
           "left: it gives infinity.", '''
def round_even(x, step, largest):
    return np.rint(x / step) * step
'''),
    Mutant("08.5", "only cuts", "You dropped the lower 16 bits. That rounds toward zero, with twice the largest error and a drift.", '''
def bf16_by_carry(x):
    y = (x.view(np.uint32) & 0xffff0000).view(np.float32)
    return np.where(np.isnan(x), x, y)
'''),
    Mutant("08.5", "rounds the middle up", "With you every middle goes up: that comes of adding 0x8000, or 0x7fff and bit 15, the "
           "first that is dropped. The tie is decided by bit 16, the last that is kept: add 0x7fff plus that.", '''
def bf16_by_carry(x):
    y = ((x.view(np.uint32) + 0x8000) & 0xffff0000).view(np.float32)
    return np.where(np.isnan(x), x, y)
'''),
    Mutant("08.5", "forgets NaN", "A NaN whose bits are nearly all ones is carried over into the sign: 0x7fffffff becomes -0. Put the NaNs back.", '''
def bf16_by_carry(x):
    u = x.view(np.uint32)
    return ((u + 0x7fff + ((u >> 16) & 1)) & 0xffff0000).view(np.float32)
'''),
    Mutant("08.5", "forgets to cut", "The lower 16 bits are still there. bf16 has no room for them.", '''
def bf16_by_carry(x):
    u = x.view(np.uint32)
    return np.where(np.isnan(x), x, (u + 0x7fff + ((u >> 16) & 1)).view(np.float32))
'''),
    Mutant("08.5", "looks at the first dropped bit", "With you every middle goes up: that comes of adding 0x8000, or 0x7fff and bit 15, the "
           "first that is dropped. The tie is decided by bit 16, the last that is kept: add 0x7fff plus that.", '''
def bf16_by_carry(x):
    u = x.view(np.uint32)
    return np.where(np.isnan(x), x, ((u + 0x7fff + ((u >> 15) & 1)) & 0xffff0000).view(np.float32))
'''),
    Mutant("08.6", "rounds at the end only", "You added in full precision and rounded once. In a narrow format every partial sum is rounded.", '''
def running_sum(values, rounded):
    total = 0.0
    for value in values:
        total = total + value
    return rounded(total)
'''),
    Mutant("08.6", "rounds the values only", "You rounded what is added, not the sum. The sum is where precision is lost: it is the large one.", '''
def running_sum(values, rounded):
    total = 0.0
    for value in values:
        total = total + rounded(value)
    return total
'''),
    Mutant("08.6", "sorts the values first", "You changed the order of the additions. The result depends on it.", '''
def running_sum(values, rounded):
    total = 0.0
    for value in sorted(values):
        total = rounded(total + value)
    return total
'''),
    Mutant("08.6", "multiplies instead", "You multiplied the first value by their number: that is the exact result for equal values, not what "
           "adding gives.", '''
def running_sum(values, rounded):
    return rounded(len(values) * values[0]) if values else 0.0
'''),
]

ALLOWED = {}
