package org.batchnorm4j.examples.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.io.StringReader;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CsvTableTest {
  @Test
  void theJarHasTheHousingData() throws IOException {
    CsvTable housing = CsvTable.housing(DataFiles.fromJar());
    assertEquals(14, housing.columns().size());
    assertEquals("MEDV", housing.columns().get(13));
    assertEquals(506, housing.rows().size());
    assertEquals(24f, housing.rows().get(0)[13]);
  }

  @Test
  void readsRows() throws IOException {
    CsvTable table = CsvTable.read("t", new StringReader("a,b\r\n1,-2.5e3\n0, 4 "));
    assertEquals(List.of("a", "b"), table.columns());
    assertArrayEquals(new float[] {1, -2500}, table.rows().get(0));
    assertArrayEquals(new float[] {0, 4}, table.rows().get(1));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "''        | t: is empty, expected a line of column names",
        "a,b       | t: has no rows",
        "a,b;1     | t, line 2: 1 columns, expected 2",
        "a,b;1,2;; | t, line 3: 1 columns, expected 2",
        "a,b;1,2,  | t, line 2: 3 columns, expected 2",
        "a,b;1,    | t, line 2, column b: \"\" is not a number",
        "a,b;1,2;x,2 | t, line 3, column a: \"x\" is not a number",
        "a,b;1,NaN | t, line 2, column b: \"NaN\" is not a number",
        "a,b;1e99,2 | t, line 2, column a: \"1e99\" is not a number",
      })
  void damageIsNamedByLineAndColumn(String lines, String message) {
    StringReader in = new StringReader(lines.replace(';', '\n'));
    IOException e = assertThrows(IOException.class, () -> CsvTable.read("t", in));
    assertEquals(message, e.getMessage());
  }
}
