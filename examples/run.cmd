@echo off
rem Runs an example by name. Builds first what is missing or older than its sources.
rem JAVA_OPTS goes to the JVM, such as set JAVA_OPTS=-Dorg.batchnorm4j.backend=java
rem The natives for Windows are built on Linux (docs\platforms.md). Here the library is built without: it takes those that
rem lie in target\classes\org\batchnorm4j\backend\jni\windows-x86_64, and without any it runs in Java.
setlocal
for %%I in ("%~dp0..") do set "root=%%~fI"
set "target=%root%\examples\target"
set "java=java"
if defined JAVA_HOME set "java=%JAVA_HOME%\bin\java"

call :stale library.built pom.xml src\main cpp cmake
if errorlevel 1 (
  echo Building batchnorm4j, without natives; the first time takes a few minutes. 1>&2
  call :build library.built "%root%\pom.xml" install || exit /b 1
  if exist "%target%\examples.built" del "%target%\examples.built"
)
call :stale examples.built examples\pom.xml examples\src\main
if errorlevel 1 (
  echo Building the examples. 1>&2
  call :build examples.built "%root%\examples\pom.xml" package || exit /b 1
)

"%java%" %JAVA_OPTS% -Djava.awt.headless=true ^
  -Dorg.batchnorm4j.examples.out="%root%\examples\out" ^
  -jar "%target%\batchnorm4j-examples.jar" %*
exit /b %errorlevel%

rem stale STAMP SOURCE...: sets errorlevel 1 if a source is newer than the stamp, or there is none.
:stale
if not exist "%target%\%1" exit /b 1
powershell -NoProfile -Command "Set-Location $env:root; $s = (Get-Item ('examples\target\' + $args[0])).LastWriteTime; $n = $args[1..9] | Where-Object { Test-Path $_ } | ForEach-Object { Get-Item $_; Get-ChildItem -Recurse $_ } | Where-Object { $_.LastWriteTime -gt $s } | Select-Object -First 1; exit [int]($null -ne $n)" %*
exit /b %errorlevel%

rem build STAMP POM GOAL: the stamp is as old as the start of a build that succeeded.
:build
if not exist "%target%" mkdir "%target%"
type nul > "%target%\%1.started"
call mvn -q -B -Dstyle.color=never -Dmaven.test.skip=true -Djavacpp.skip=true -f %2 %3
if errorlevel 1 exit /b 1
move /y "%target%\%1.started" "%target%\%1" > nul
exit /b 0
