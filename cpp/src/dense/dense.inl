// Layers small enough that their weights stay in the first-level cache. There are two ways, with
// the same bits. By rows: 16 outputs of a row to a vector. Across rows: an output of 16 rows to a
// vector, which wastes no lanes on layers with few outputs, but has to turn what goes in and comes
// out. Included once per instruction set.

// kSums, the sums that are kept in registers, is the instruction set's. There must be enough of
// them to hide the latency of an fma.
constexpr int kColumns = kSums >= 16 ? 4 : 2;

// Between two layers there is a block of rows. Across rows it may be of two vectors of them.
constexpr int kGroups = kSums >= 16 ? 2 : 1;
using Between = float[kGroups * 16 * BN_DENSE_WIDTH];

// ---------------------------------------------------------------------------------------- by rows

// `columns` vectors of outputs of `rows` rows. `last` is how many outputs the last vector has.
template <int rows, int columns>
BN_INLINE void block(const float* x, int64_t in, const float* w, int64_t w_pitch, const float* bias,
                     bool relu, float* y, int64_t out, int64_t last) {
  Vec<float> sum[rows][columns];
  for (int c = 0; c < columns; c++) {
    Vec<float> b = load(bias + c * 16);
    for (int r = 0; r < rows; r++) sum[r][c] = b;
  }
  for (int64_t i = 0; i < in; i++) {
    Vec<float> weights[columns];
    for (int c = 0; c < columns; c++) weights[c] = load(w + i * w_pitch + c * 16);
    for (int r = 0; r < rows; r++) {
      Vec<float> value = splat(x[r * in + i]);
      for (int c = 0; c < columns; c++) sum[r][c] = fma(value, weights[c], sum[r][c]);
    }
  }
  for (int r = 0; r < rows; r++) {
    for (int c = 0; c < columns; c++) {
      if (relu) sum[r][c] = clamp0(sum[r][c]);
      if (c == columns - 1 && last < 16) {
        store(y + r * out + c * 16, last, sum[r][c]);
      } else {
        store(y + r * out + c * 16, sum[r][c]);
      }
    }
  }
}

// As many blocks of so many rows as there are from row r on. Returns the first row that is left.
template <int rows, int columns>
BN_INLINE int64_t blocks(int64_t r, int64_t end, const float* x, int64_t in, const float* w,
                         int64_t w_pitch, const float* bias, bool relu, float* y, int64_t out,
                         int64_t last) {
  for (; r + rows <= end; r += rows) {
    block<rows, columns>(x + r * in, in, w, w_pitch, bias, relu, y + r * out, out, last);
  }
  return r;
}

template <int columns>
BN_INLINE void strip(int64_t rows, const float* x, int64_t in, const float* w, int64_t w_pitch,
                     const float* bias, bool relu, float* y, int64_t out, int64_t last) {
  constexpr int kRows = kSums / columns;
  int64_t r = blocks<kRows, columns>(0, rows, x, in, w, w_pitch, bias, relu, y, out, last);
  if (kRows > 4) r = blocks<4, columns>(r, rows, x, in, w, w_pitch, bias, relu, y, out, last);
  blocks<1, columns>(r, rows, x, in, w, w_pitch, bias, relu, y, out, last);
}

BN_INLINE void by_rows(int64_t rows, const bn_dense_layer& layer, const float* x, float* y) {
  int64_t in = layer.in, out = layer.out, w_pitch = (out + 15) / 16 * 16;
  bool relu = layer.relu != 0;
  for (int64_t o = 0; o < out;) {
    int64_t vectors = (out - o + 15) / 16;
    const float* at = layer.weight + o;
    const float* b = layer.bias + o;
    if (vectors >= kColumns) {
      int64_t last = out - o < kColumns * 16 ? out - o - (kColumns - 1) * 16 : 16;
      strip<kColumns>(rows, x, in, at, w_pitch, b, relu, y + o, out, last);
      o += kColumns * 16;
    } else if (kColumns > 2 && vectors >= 2) {
      int64_t last = out - o < 32 ? out - o - 16 : 16;
      strip<2>(rows, x, in, at, w_pitch, b, relu, y + o, out, last);
      o += 32;
    } else {
      strip<1>(rows, x, in, at, w_pitch, b, relu, y + o, out, out - o);
      o += 16;
    }
  }
}

// ------------------------------------------------------------------------------------ across rows

// `outs` outputs of 16 * groups rows. x is by input, y by output, and then row.
template <int groups, int outs>
BN_INLINE void outputs(const float* x, int64_t in, const float* w, int64_t w_pitch,
                       const float* bias, bool relu, float* y) {
  constexpr int kRows = groups * 16;
  Vec<float> sum[outs][groups];
  for (int o = 0; o < outs; o++) {
    for (int g = 0; g < groups; g++) sum[o][g] = splat(bias[o]);
  }
  for (int64_t i = 0; i < in; i++) {
    Vec<float> values[groups];
    for (int g = 0; g < groups; g++) values[g] = load(x + i * kRows + g * 16);
    for (int o = 0; o < outs; o++) {
      Vec<float> weight = splat(w[i * w_pitch + o]);
      for (int g = 0; g < groups; g++) sum[o][g] = fma(values[g], weight, sum[o][g]);
    }
  }
  for (int o = 0; o < outs; o++) {
    for (int g = 0; g < groups; g++) {
      store(y + o * kRows + g * 16, relu ? clamp0(sum[o][g]) : sum[o][g]);
    }
  }
}

template <int groups>
BN_INLINE void across(const bn_dense_layer& layer, const float* x, float* y) {
  constexpr int kOuts = kSums / groups, kRows = groups * 16;
  int64_t in = layer.in, w_pitch = (layer.out + 15) / 16 * 16, o = 0;
  bool relu = layer.relu != 0;
  const float *w = layer.weight, *b = layer.bias;
  for (; o + kOuts <= layer.out; o += kOuts) {
    outputs<groups, kOuts>(x, in, w + o, w_pitch, b + o, relu, y + o * kRows);
  }
  for (; o + 2 <= layer.out; o += 2) {
    outputs<groups, 2>(x, in, w + o, w_pitch, b + o, relu, y + o * kRows);
  }
  if (o < layer.out) outputs<groups, 1>(x, in, w + o, w_pitch, b + o, relu, y + o * kRows);
}

// As many blocks of 16 * groups rows as there are from row r on. Returns the first that is left.
template <int groups>
BN_INLINE int64_t all_across(int64_t r, int64_t rows, int64_t count, const bn_dense_layer* layers,
                             const float* x, Between& a, Between& b, float* y) {
  constexpr int kRows = groups * 16;
  int64_t in = layers[0].in, out = layers[count - 1].out;
  for (; r + kRows <= rows; r += kRows) {
    for (int64_t i = 0; i < in; i++) {
      for (int64_t k = 0; k < kRows; k++) a[i * kRows + k] = x[(r + k) * in + i];
    }
    float *from = a, *to = b;
    for (int64_t l = 0; l < count; l++) {
      across<groups>(layers[l], from, to);
      float* swap = from;
      from = to;
      to = swap;
    }
    for (int64_t k = 0; k < kRows; k++) {
      for (int64_t o = 0; o < out; o++) y[(r + k) * out + o] = from[o * kRows + k];
    }
  }
  return r;
}

// Whether it is less work across rows: for 16 rows, with 2 for each value that is turned, which is
// what was measured.
BN_INLINE bool is_less_across(int64_t count, const bn_dense_layer* layers) {
  int64_t turned = layers[0].in + layers[count - 1].out, by_rows = 0, across = 32 * turned;
  for (int64_t l = 0; l < count; l++) {
    if (layers[l].in > BN_DENSE_WIDTH || layers[l].out > BN_DENSE_WIDTH) return false;
    by_rows += layers[l].in * ((layers[l].out + 15) / 16) * 16;
    across += layers[l].in * layers[l].out;
  }
  return across < by_rows;
}

// -------------------------------------------------------------------------------------------- all

void dense(int64_t rows, int64_t count, const bn_dense_layer* layers, const float* x, float* y) {
  int64_t in = layers[0].in, out = layers[count - 1].out, r = 0;
  alignas(64) Between a, b;
  if (rows >= 16 && is_less_across(count, layers)) {
    r = all_across<kGroups>(0, rows, count, layers, x, a, b, y);
    if (kGroups > 1) r = all_across<1>(r, rows, count, layers, x, a, b, y);
  }
  if (count == 1) by_rows(rows - r, layers[0], x + r * in, y + r * out);
  while (count > 1 && r < rows) {
    int64_t n = rows - r < 16 ? rows - r : 16;
    const float* from = x + r * in;
    for (int64_t l = 0; l < count; l++) {
      float* to = l == count - 1 ? y + r * out : l % 2 == 0 ? a : b;
      by_rows(n, layers[l], from, to);
      from = to;
    }
    r += n;
  }
}
