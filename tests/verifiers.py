"Means over clips of what the audits of a verifier say clip by clip, for the tests."
import numpy as np
from ambiscale_nb.strategies.paper import order_values, shuffle_values, tie_values

def over_clips(x): return float(np.nanmean(x)) if np.isfinite(x).any() else np.nan

def shuffle_audit(pool, swapped, y=None):
    each = shuffle_values(pool, swapped, y)
    return dict(n=int(np.isfinite(each['changed']).sum())) | {k: over_clips(v) for k, v in each.items()}

def order_audit(scores, places):
    same, total, n = order_values(scores, places)
    by_place = np.where(n.any(1), total.sum(1)/np.maximum(n.sum(1), 1), np.nan).tolist()
    return dict(n=int(np.isfinite(same).sum()), agreement=over_clips(same), by_place=by_place)

def tie_audit(pool):
    tied = tie_values(pool)
    return dict(n=int(np.isfinite(tied).sum()), tied=over_clips(tied))
