// What Java asks of JNI itself: direct buffers and their addresses, and arrays of the Java heap.
// Not part of the C ABI.
#pragma once
#include <jni.h>

#include "batchnorm4j.h"

// A direct buffer on memory that somebody else frees.
static inline jobject bn_buffer(JNIEnv* env, jclass, jlong address, jlong bytes) {
  return env->NewDirectByteBuffer((void*)address, bytes);
}

// Where the first element of a direct buffer lies, whatever its position.
static inline jlong bn_address(JNIEnv* env, jclass, jobject buffer) {
  return (jlong)env->GetDirectBufferAddress(buffer);
}

namespace bn {

// An array of primitives, which the garbage collector leaves where it is as long as this is there.
// Where it is null, bytes count from address 0.
class HeldArray {
 public:
  // mode: JNI_ABORT for what is only read, or 0.
  HeldArray(JNIEnv* env, jobject array, jint mode) : env_(env), array_((jarray)array), mode_(mode) {
    if (array_) base_ = env->GetPrimitiveArrayCritical(array_, nullptr);
  }
  ~HeldArray() {
    if (base_) env_->ReleasePrimitiveArrayCritical(array_, base_, mode_);
  }
  HeldArray(const HeldArray&) = delete;
  HeldArray& operator=(const HeldArray&) = delete;

  bool failed() const { return array_ && !base_; }
  void* at(jlong bytes) const { return (void*)((jlong)base_ + bytes); }

 private:
  JNIEnv* env_;
  jarray array_;
  jint mode_;
  void* base_ = nullptr;
};

}  // namespace bn

// bn_inference_slice of data that lies in arrays of the Java heap, or where they are null, at
// addresses.
static inline jint bn_inference_slice_of(JNIEnv* env, jclass, jobject x, jlong x_bytes,
                                         jlong x_pitch, jobject residual, jlong residual_bytes,
                                         jlong residual_pitch, jobject y, jlong y_bytes,
                                         jlong y_pitch, jint isa, jint dtype, jint layout, jlong n,
                                         jlong c, jlong s, jint activation, jdouble slope,
                                         jlong mean, jlong var, jlong weight, jlong bias,
                                         jdouble eps, jlong whole) {
  bn::HeldArray from(env, x, JNI_ABORT), plus(env, residual, JNI_ABORT), to(env, y, 0);
  if (from.failed() || plus.failed() || to.failed()) return bn_no_memory;
  return bn_inference_slice(isa, dtype, layout, n, c, s, activation, slope, from.at(x_bytes),
                            x_pitch, plus.at(residual_bytes), residual_pitch, to.at(y_bytes),
                            y_pitch, (const void*)mean, (const void*)var, (const void*)weight,
                            (const void*)bias, eps, whole);
}
