package org.batchnorm4j.examples.serve;

import com.google.gson.Strictness;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import com.google.gson.stream.JsonWriter;
import java.io.EOFException;
import java.io.IOException;
import java.io.StringReader;
import java.io.StringWriter;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * What is predicted from: rows of numbers, one behind the other, and how they travel. Either {@code
 * {"inputs": [[...], ...]}} and {@code {"outputs": [[...], ...], "classes": [...]}}, or 32-bit
 * little-endian floats with nothing around them.
 */
record Samples(int count, float[] values) {

  /** Reads 4 bytes for each number. */
  static Samples fromBytes(byte[] body, int inputSize) throws HttpError {
    int sample = inputSize * Float.BYTES;
    if (body.length == 0 || body.length % sample != 0) {
      throw new HttpError(
          400,
          "the body has "
              + body.length
              + " bytes, expected a multiple of the "
              + sample
              + " bytes of a sample of "
              + inputSize
              + " little-endian floats");
    }
    float[] values = new float[body.length / Float.BYTES];
    ByteBuffer.wrap(body).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(values);
    for (int i = 0; i < values.length; i++) {
      checkFinite(values[i], i / inputSize, i % inputSize);
    }
    return new Samples(body.length / sample, values);
  }

  static Samples fromJson(byte[] body, int inputSize) throws HttpError {
    JsonReader json = new JsonReader(new StringReader(new String(body, StandardCharsets.UTF_8)));
    json.setStrictness(Strictness.STRICT);
    try {
      Samples samples = null;
      expect(JsonToken.BEGIN_OBJECT, json);
      json.beginObject();
      while (json.hasNext()) {
        String name = json.nextName();
        if (!name.equals("inputs") || samples != null) {
          throw new HttpError(400, "expected one member \"inputs\", but got \"" + name + "\"");
        }
        samples = rows(json, inputSize);
      }
      json.endObject();
      expect(JsonToken.END_DOCUMENT, json);
      if (samples == null || samples.count == 0) {
        throw new HttpError(400, "\"inputs\" is missing or empty; expected an array of samples");
      }
      return samples;
    } catch (EOFException e) {
      throw new HttpError(400, "the body is not JSON: it ends in the midst of " + json.getPath());
    } catch (IOException e) {
      throw new HttpError(400, "the body is not JSON: there is an error at " + json.getPath());
    }
  }

  private static void expect(JsonToken expected, JsonReader json) throws IOException, HttpError {
    JsonToken got = json.peek();
    if (got != expected) {
      throw new HttpError(
          400,
          "expected {\"inputs\": [[number, ...], ...]}, but got "
              + got
              + " instead of "
              + expected
              + " at "
              + json.getPath());
    }
  }

  private static Samples rows(JsonReader json, int inputSize) throws IOException, HttpError {
    float[] values = new float[inputSize];
    int count = 0;
    expect(JsonToken.BEGIN_ARRAY, json);
    json.beginArray();
    while (json.hasNext()) {
      if (values.length < (count + 1) * inputSize) {
        values = Arrays.copyOf(values, values.length * 2);
      }
      expect(JsonToken.BEGIN_ARRAY, json);
      json.beginArray();
      int read = 0;
      for (; json.hasNext(); read++) {
        expect(JsonToken.NUMBER, json);
        // As text: a double between would be rounded twice.
        float value = Float.parseFloat(json.nextString());
        if (read < inputSize) {
          checkFinite(value, count, read);
          values[count * inputSize + read] = value;
        }
      }
      json.endArray();
      if (read != inputSize) {
        throw new HttpError(
            400, "sample " + count + " has " + read + " numbers, expected " + inputSize);
      }
      count++;
    }
    json.endArray();
    return new Samples(count, Arrays.copyOf(values, count * inputSize));
  }

  private static void checkFinite(float value, int sample, int i) throws HttpError {
    if (!Float.isFinite(value)) {
      throw new HttpError(
          400, "number " + i + " of sample " + sample + " is " + value + ", not a finite float");
    }
  }

  // ----------------------------------------------------------------------------------------
  // answers

  byte[] toBytes() {
    ByteBuffer bytes =
        ByteBuffer.allocate(values.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    bytes.asFloatBuffer().put(values);
    return bytes.array();
  }

  byte[] toJson() throws IOException, HttpError {
    int size = values.length / count;
    for (int i = 0; i < values.length; i++) {
      if (!Float.isFinite(values[i])) {
        throw new HttpError(
            400,
            "sample "
                + i / size
                + " has numbers too large: output "
                + i % size
                + " is "
                + values[i]
                + ", which JSON cannot say");
      }
    }
    StringWriter text = new StringWriter();
    try (JsonWriter json = new JsonWriter(text)) {
      json.beginObject();
      json.name("outputs").beginArray();
      for (int n = 0; n < count; n++) {
        json.beginArray();
        for (int i = 0; i < size; i++) {
          json.value(values[n * size + i]);
        }
        json.endArray();
      }
      json.endArray();
      json.name("classes").beginArray();
      for (int n = 0; n < count; n++) {
        json.value(largest(n * size, size));
      }
      json.endArray();
      json.endObject();
    }
    return text.toString().getBytes(StandardCharsets.UTF_8);
  }

  private int largest(int from, int size) {
    int best = 0;
    for (int i = 1; i < size; i++) {
      if (values[from + i] > values[from + best]) {
        best = i;
      }
    }
    return best;
  }
}
