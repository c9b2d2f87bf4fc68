"""Wrong answers to the exercises of lesson 14, and what to tell who gives them."""
from lessons.kit import Mutant

MUTANTS = [
    Mutant("14.1", "counts all values", "Your answer is the size of the smaller side. That is the largest rank possible; the rank counts the "
           "singular values that are not (nearly) zero.", '''
def numerical_rank(M, rtol=1e-6):
    return min(M.shape)
'''),
    Mutant("14.1", "compares with an absolute threshold", "Your threshold does not grow with the matrix: measured in other units, the same "
           "matrix would have another rank. Compare with the largest singular value.", '''
def numerical_rank(M, rtol=1e-6):
    S = np.linalg.svd(M, compute_uv=False)
    return int((S > rtol).sum())
'''),
    Mutant("14.1", "counts exact zeros only", "Rounding makes tiny singular values where exact arithmetic has zeros. Values below rtol times "
           "the largest do not count.", '''
def numerical_rank(M, rtol=1e-6):
    S = np.linalg.svd(M, compute_uv=False)
    return int((S > 0).sum())
'''),
    Mutant("14.1", "counts the small ones", "You counted the singular values that are small.", '''
def numerical_rank(M, rtol=1e-6):
    S = np.linalg.svd(M, compute_uv=False)
    return int((S <= rtol * S[0]).sum())
'''),
    Mutant("14.2", "drops the singular values", "You multiplied directions without their lengths: S is missing.", '''
def best_rank(M, r):
    U, S, Vt = np.linalg.svd(M, full_matrices=False)
    return U[:, :r] @ Vt[:r]
'''),
    Mutant("14.2", "keeps the smallest", "You kept the r smallest singular values; the nearest matrix keeps the largest.", '''
def best_rank(M, r):
    U, S, Vt = np.linalg.svd(M, full_matrices=False)
    return U[:, -r:] * S[-r:] @ Vt[-r:]
'''),
    Mutant("14.2", "keeps one too few", "One singular value is missing: the slice :r has r entries.", '''
def best_rank(M, r):
    U, S, Vt = np.linalg.svd(M, full_matrices=False)
    return U[:, :r - 1] * S[:r - 1] @ Vt[:r - 1]
'''),
    Mutant("14.2", "cuts the matrix itself", "You kept the first r columns of M. A matrix of low rank is not a narrow one.", '''
def best_rank(M, r):
    out = np.zeros_like(M)
    out[:, :r] = M[:, :r]
    return out
'''),
    Mutant("14.2", "keeps everything", "That is M itself: nothing was cut.", '''
def best_rank(M, r):
    U, S, Vt = np.linalg.svd(M, full_matrices=False)
    return U * S @ Vt
'''),
    Mutant("14.2", "cuts at a value", "You keep every singular value that is as large as the r-th. Where several are equal that "
           "is more than r of them. Cut by position.", '''
def best_rank(M, r):
    U, S, Vt = svd(M)
    return U * np.where(S >= S[r - 1] * (1 - 1e-9), S, 0) @ Vt
'''),
    Mutant("14.3", "gives S to both", "Each factor got the whole singular value, so the product has S². Give √S to each.", '''
def factor(M, r):
    U, S, Vt = np.linalg.svd(M, full_matrices=False)
    return U[:, :r] * S[:r], S[:r, None] * Vt[:r]
'''),
    Mutant("14.3", "gives S to one side", "The product is right, but all of S is in B. Balanced factors get √S each; a lopsided pair trains "
           "at two different speeds.", '''
def factor(M, r):
    U, S, Vt = np.linalg.svd(M, full_matrices=False)
    return U[:, :r] * S[:r], Vt[:r]
'''),
    Mutant("14.3", "returns A first", "The order is (B, A): the tall one first, as in the product BA.", '''
def factor(M, r):
    U, S, Vt = np.linalg.svd(M, full_matrices=False)
    root = np.sqrt(S[:r])
    return root[:, None] * Vt[:r], U[:, :r] * root
'''),
    Mutant("14.3", "keeps all columns", "Your factors are as wide as the matrix: cut them to r columns and r rows.", '''
def factor(M, r):
    U, S, Vt = np.linalg.svd(M, full_matrices=False)
    return U * np.sqrt(S), np.sqrt(S)[:, None] * Vt
'''),
    Mutant("14.4", "does not square", "You summed the singular values. Energy is the sum of their squares, like the squared length of a "
           "vector.", '''
def energy(M, r):
    S = np.linalg.svd(M, compute_uv=False)
    return float(S[:r].sum() / S.sum())
'''),
    Mutant("14.4", "returns what is left", "That is the share you lose by cutting to rank r.", '''
def energy(M, r):
    S = np.linalg.svd(M, compute_uv=False)
    return float((S[r:] ** 2).sum() / (S ** 2).sum())
'''),
    Mutant("14.4", "counts values", "You returned which share of the singular values is kept, not how much of the matrix they hold.", '''
def energy(M, r):
    S = np.linalg.svd(M, compute_uv=False)
    return r / len(S)
'''),
    Mutant("14.4", "does not divide", "That is an amount; a share is divided by the whole.", '''
def energy(M, r):
    S = np.linalg.svd(M, compute_uv=False)
    return float((S[:r] ** 2).sum())
'''),
    Mutant("14.5", "multiplies the factors' sizes", "The two thin matrices have r·m and r·n numbers: add them, do not multiply.", '''
def numbers_saved(m, n, r):
    return m * n - r * m * n
'''),
    Mutant("14.5", "forgets one factor", "Both factors take memory; you counted one.", '''
def numbers_saved(m, n, r):
    return m * n - r * n
'''),
    Mutant("14.5", "returns what is needed", "That is how many numbers the product has, not how many it saves.", '''
def numbers_saved(m, n, r):
    return r * (m + n)
'''),
    Mutant("14.5", "never goes below zero", "When r is too large, factors need more numbers than the matrix: the answer is negative.", '''
def numbers_saved(m, n, r):
    return max(0, m * n - r * (m + n))
'''),
    Mutant("14.6", "takes columns of Vt", "np.linalg.svd returns the right singular vectors as rows of its third result; you took columns.", '''
def overlap(A1, A2, i, j):
    V1 = np.linalg.svd(A1, full_matrices=False)[2][:, :i].T
    V2 = np.linalg.svd(A2, full_matrices=False)[2][:, :j].T
    n = min(V1.shape[1], V2.shape[1])
    return float(((V1[:, :n] @ V2[:, :n].T) ** 2).sum() / min(i, j))
'''),
    Mutant("14.6", "does not square", "φ sums the squares of the cosines; you summed their sizes.", '''
def overlap(A1, A2, i, j):
    V1 = np.linalg.svd(A1, full_matrices=False)[2][:i]
    V2 = np.linalg.svd(A2, full_matrices=False)[2][:j]
    return float(np.abs(V1 @ V2.T).sum() / min(i, j))
'''),
    Mutant("14.6", "divides by the larger", "Divide by the smaller of i and j: a line that lies in a plane overlaps fully.", '''
def overlap(A1, A2, i, j):
    V1 = np.linalg.svd(A1, full_matrices=False)[2][:i]
    V2 = np.linalg.svd(A2, full_matrices=False)[2][:j]
    return float(((V1 @ V2.T) ** 2).sum() / max(i, j))
'''),
    Mutant("14.6", "compares the matrices themselves", "You compared rows of the matrices. Rows are neither of length one nor at right angles; the "
           "singular vectors are.", '''
def overlap(A1, A2, i, j):
    return float(((A1[:i] @ A2[:j].T) ** 2).sum() / min(i, j))
'''),
]
