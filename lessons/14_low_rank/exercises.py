"""Lesson 14: rank, the singular value decomposition, and updates of low rank. `pytest lessons/14_low_rank` checks it.

M is always a matrix (m, n); its decomposition M = U·diag(S)·Vᵀ has U (m, k), S (k,) falling, Vᵀ (k, n), k = min(m, n).
"""
import numpy as np


def svd(M):
    """(U, S, Vt) of a matrix, in its short form: k = min(m, n) columns, values and rows."""
    return np.linalg.svd(M, full_matrices=False)


def numerical_rank(M, rtol=1e-6):
    """How many singular values of M are larger than rtol times the largest one; 0 for a matrix of zeros. An int."""
    # TODO 14.1: delete the next line and write numerical_rank (about 2 lines).
    raise NotImplementedError("14.1 numerical_rank")


def best_rank(M, r):
    """The matrix of rank r that is nearest to M (Eckart and Young): keep the r largest singular values."""
    # TODO 14.2: delete the next line and write best_rank (about 2 lines).
    raise NotImplementedError("14.2 best_rank")


def factor(M, r):
    """Two thin matrices (B, A), B (m, r) and A (r, n), whose product is the best rank-r matrix. Each gets √S of the values."""
    # TODO 14.3: delete the next line and write factor (about 3 lines).
    raise NotImplementedError("14.3 factor")


def energy(M, r):
    """Which share of Σ S² the r largest singular values hold: 1 says that rank r is all of M. A float."""
    # TODO 14.4: delete the next line and write energy (about 2 lines).
    raise NotImplementedError("14.4 energy")


def numbers_saved(m, n, r):
    """How many numbers fewer a rank-r product (m, r)·(r, n) has than the m × n matrix; negative if it has more. An int."""
    # TODO 14.5: delete the next line and write numbers_saved (about 1 line).
    raise NotImplementedError("14.5 numbers_saved")


def overlap(A1, A2, i, j):
    """φ: how much of the span of A1's top i right singular vectors lies in the span of A2's top j; between 0 and 1.

    φ = ‖V1ᵢᵀ V2ⱼ‖² / min(i, j), with the Frobenius norm; V1ᵢ holds the first i right singular vectors as columns.
    """
    # TODO 14.6: delete the next line and write overlap (about 3 lines).
    raise NotImplementedError("14.6 overlap")
