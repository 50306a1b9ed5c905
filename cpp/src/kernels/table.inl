// The table of this instruction set's kernels for a storage type.

template <class S>
constexpr Kernels table() {
  using E = Element<S>;
  return {
      moments_ncs<S>,
      moments_nsc<S>,
      merge_moments<E>,
      finish_training<S>,
      finish_statistics<S>,
      prepare_inference<E>,
      {{normalize_ncs<S, 0, false>, normalize_ncs<S, 0, true>},
       {normalize_ncs<S, 1, false>, normalize_ncs<S, 1, true>},
       {normalize_ncs<S, 2, false>, normalize_ncs<S, 2, true>}},
      {{normalize_nsc<S, 0, false>, normalize_nsc<S, 0, true>},
       {normalize_nsc<S, 1, false>, normalize_nsc<S, 1, true>},
       {normalize_nsc<S, 2, false>, normalize_nsc<S, 2, true>}},
      {sums_ncs<S, 0>, sums_ncs<S, 1>, sums_ncs<S, 2>, sums_ncs<S, 3>, sums_ncs<S, 4>},
      {sums_nsc<S, 0>, sums_nsc<S, 1>, sums_nsc<S, 2>, sums_nsc<S, 3>, sums_nsc<S, 4>},
      merge_sums<E>,
      finish_gradient<E>,
      {{{gradient_ncs<S, 0, false, false>, gradient_ncs<S, 0, false, true>},
        {gradient_ncs<S, 0, true, false>, gradient_ncs<S, 0, true, true>}},
       {{gradient_ncs<S, 1, false, false>, gradient_ncs<S, 1, false, true>},
        {gradient_ncs<S, 1, true, false>, gradient_ncs<S, 1, true, true>}},
       {{gradient_ncs<S, 2, false, false>, gradient_ncs<S, 2, false, true>},
        {gradient_ncs<S, 2, true, false>, gradient_ncs<S, 2, true, true>}},
       {{gradient_ncs<S, 3, false, false>, nullptr}, {gradient_ncs<S, 3, true, false>, nullptr}},
       {{gradient_ncs<S, 4, false, false>, nullptr}, {gradient_ncs<S, 4, true, false>, nullptr}}},
      {{{gradient_nsc<S, 0, false, false>, gradient_nsc<S, 0, false, true>},
        {gradient_nsc<S, 0, true, false>, gradient_nsc<S, 0, true, true>}},
       {{gradient_nsc<S, 1, false, false>, gradient_nsc<S, 1, false, true>},
        {gradient_nsc<S, 1, true, false>, gradient_nsc<S, 1, true, true>}},
       {{gradient_nsc<S, 2, false, false>, gradient_nsc<S, 2, false, true>},
        {gradient_nsc<S, 2, true, false>, gradient_nsc<S, 2, true, true>}},
       {{gradient_nsc<S, 3, false, false>, nullptr}, {gradient_nsc<S, 3, true, false>, nullptr}},
       {{gradient_nsc<S, 4, false, false>, nullptr}, {gradient_nsc<S, 4, true, false>, nullptr}}},
  };
}

constexpr Kernels kTable = table<BN_STORAGE>();
