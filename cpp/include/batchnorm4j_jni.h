// What Java asks of JNI itself: direct buffers and their addresses. Not part of the C ABI.
#pragma once
#include <jni.h>

// A direct buffer on memory that somebody else frees.
static inline jobject bn_buffer(JNIEnv* env, jclass, jlong address, jlong bytes) {
  return env->NewDirectByteBuffer((void*)address, bytes);
}

// Where the first element of a direct buffer lies, whatever its position.
static inline jlong bn_address(JNIEnv* env, jclass, jobject buffer) {
  return (jlong)env->GetDirectBufferAddress(buffer);
}
