"""This package knows what is merged, and whether: ordered pure steps over the members' updates, no I/O.

validate -> screen -> discount what is stale -> one voice a member -> clip or level -> rule -> accept, put in order by
`pipeline.merge`.

| rule | file | withstands, of n members | set for |
|---|---|---|---|
| mean | mean | none | - |
| median | coordinates | fewer than half | - |
| trimmed_mean | coordinates | `wrong` | `tolerance.tolerated(n)`: a fifth of n |
| krum, multi_krum | neighbours | `wrong` | the same |
| geometric_median | centres | fewer than half | - |
| centred_clipping | centres | fewer than half, from a start near the honest | - |
| robust, levelled: mixing, then trimmed mean | neighbours, coordinates | `wrong` | the same |
| fltrust | trust | any number, with healthy rows of the server's own | - |
"""
