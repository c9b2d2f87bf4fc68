"""Lesson 14: rank, the singular value decomposition, and updates of low rank. `pytest lessons/14_low_rank` checks it.

M is always a matrix (m, n); its decomposition M = U·diag(S)·Vᵀ has U (m, k), S (k,) falling, Vᵀ (k, n), k = min(m, n).
"""
import numpy as np


def svd(M):
    """(U, S, Vt) of a matrix, in its short form: k = min(m, n) columns, values and rows."""
    return np.linalg.svd(M, full_matrices=False)


def numerical_rank(M, rtol=1e-6):
    """How many singular values of M are larger than rtol times the largest one; 0 for a matrix of zeros. An int."""
    # <solution hint="svd(M)[1] gives the singular values, the largest first.">
    S = svd(M)[1]
    return int((S > rtol * S[0]).sum())
    # </solution>


def best_rank(M, r):
    """The matrix of rank r that is nearest to M (Eckart and Young): keep the r largest singular values."""
    # <solution hint="U, S, Vt = svd(M), with the helper above; which columns of U and rows of Vt belong to the first r?">
    U, S, Vt = svd(M)
    return U[:, :r] * S[:r] @ Vt[:r]
    # </solution>


def factor(M, r):
    """Two thin matrices (B, A), B (m, r) and A (r, n), whose product is the best rank-r matrix. Each gets √S of the values."""
    # <solution hint="Split each singular value evenly: √S to the columns of B, √S to the rows of A.">
    U, S, Vt = svd(M)
    root = np.sqrt(S[:r])
    return U[:, :r] * root, root[:, None] * Vt[:r]
    # </solution>


def energy(M, r):
    """Which share of Σ S² the r largest singular values hold: 1 says that rank r is all of M. A float."""
    # <solution hint="The squared Frobenius norm of M is the sum of its squared singular values.">
    S = svd(M)[1]
    return float((S[:r] ** 2).sum() / (S ** 2).sum())
    # </solution>


def numbers_saved(m, n, r):
    """How many numbers fewer a rank-r product (m, r)·(r, n) has than the m × n matrix; negative if it has more. An int."""
    # <solution hint="Count the entries of both, and subtract.">
    return m * n - r * (m + n)
    # </solution>


def overlap(A1, A2, i, j):
    """φ: how much of the span of A1's top i right singular vectors lies in the span of A2's top j; between 0 and 1.

    φ = ‖V1ᵢᵀ V2ⱼ‖² / min(i, j), with the Frobenius norm; V1ᵢ holds the first i right singular vectors as columns.
    """
    # <solution hint="svd returns the right singular vectors as ROWS of Vt.">
    V1 = svd(A1)[2][:i]
    V2 = svd(A2)[2][:j]
    return float(((V1 @ V2.T) ** 2).sum() / min(i, j))
    # </solution>
