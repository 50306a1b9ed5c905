// Loads the JNI library of a Windows jar and has it run its self-test: load-dll.exe <dll>. What a
// JVM would do, less the JVM: these functions do not touch their JNIEnv.
#include <stdio.h>
#include <windows.h>

typedef long (*Detect)(void*, void*);
typedef long (*SelfTest)(void*, void*, long);

int main(int count, char** arguments) {
  HMODULE library = count == 2 ? LoadLibraryA(arguments[1]) : NULL;
  if (library == NULL) {
    printf("cannot load it: error %lu\n", GetLastError());
    return 1;
  }
#define JNI(name) \
  (void*)GetProcAddress(library, "Java_org_batchnorm4j_backend_jni_BatchNormNative_" name)
  Detect detect = (Detect)JNI("bn_1detect_1isa");
  SelfTest self_test = (SelfTest)JNI("bn_1self_1test");
  if (detect == NULL || self_test == NULL) {
    printf("a function is missing\n");
    return 1;
  }
  for (long isa = 0; isa <= detect(NULL, NULL); isa++) {
    long status = self_test(NULL, NULL, isa);
    printf("instruction set %ld: status %ld\n", isa, status);
    if (status != 0) return 1;
  }
  return 0;
}
