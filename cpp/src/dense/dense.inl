// y = x w + b for a layer small enough that its weights stay in the first-level cache: rows of x
// against columns of w, 16 outputs to a vector. Included once per instruction set.

// kSums, the sums that are kept in registers, is the instruction set's: a product of rows and
// vectors of outputs. There must be enough of them to hide the latency of an fma.
constexpr int kColumns = kSums >= 16 ? 4 : 2;

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

void dense(int64_t rows, int64_t in, int64_t out, const float* x, const float* w, const float* bias,
           bool relu, float* y) {
  int64_t w_pitch = (out + 15) / 16 * 16;
  for (int64_t o = 0; o < out;) {
    int64_t vectors = (out - o + 15) / 16;
    const float* at = w + o;
    const float* b = bias + o;
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
