// csc: -lib
// Source of shapes.dll: type system corner cases for tests/shapes.rs.
using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

public class Animal { public virtual Animal Make() => this; public virtual object Tag() => "a"; public virtual string Hidden() => "animal"; }
public class Dog : Animal { public override Dog Make() => this; public override string Tag() => "d"; public new virtual string Hidden() => "dog"; }
public class Puppy : Dog { public override Puppy Make() => this; }
public class Pug : Puppy { public override Puppy Make() => this; public override string Hidden() => "pug"; }

public interface IBase { string M() => "IBase"; string N(); }
public interface ILeft : IBase { string IBase.M() => "ILeft"; }
public interface IRight : IBase { string IBase.M() => "IRight"; }
public interface IBoth : ILeft, IRight { string IBase.M() => "IBoth"; }
public interface IAbstractAgain : IBase { abstract string IBase.M(); }
public class UsesLeft : ILeft { public string N() => "N"; }
public class Diamond : ILeft, IRight { public string N() => "N"; string IBase.M() => "own"; }
public class MostSpecific : IBoth { string IBase.N() => "N"; }
public struct DimStruct : IBase { public string N() => "N"; }

public interface IShape { string Name(); string Area(); }
public class ShapeBase : IShape { public string Name() => "base"; string IShape.Area() => "base"; }
public class Reimplements : ShapeBase, IShape { public new string Name() => "again"; }
public class Inherits : Reimplements { public new string Name() => "not seen"; }

public interface IParse<T> where T : IParse<T> { static abstract T Parse(string s); static virtual string Kind() => "default"; static abstract T operator +(T a, T b); }
public struct Money : IParse<Money> { public static Money Parse(string s) => default; public static Money operator +(Money a, Money b) => a; }
public class Text : IParse<Text> { static Text IParse<Text>.Parse(string s) => null; static string IParse<Text>.Kind() => "text"; public static Text operator +(Text a, Text b) => a; }

public abstract class Visitor { public abstract string Visit<T>(T t); public virtual string Twice<T, U>() => "base"; }
public class Printer : Visitor { public override string Visit<T>(T t) => "printed"; }
public class LoudPrinter : Printer { public override string Twice<T, U>() => "loud"; }

public class Node<T> : IComparable<Node<T>> { public T Value; public Node<T> Next; public int CompareTo(Node<T> other) => 0; public struct Inner { public Node<Inner> Back; public T Data; } }
public class Weird<T> : Weird2<Weird<Weird<T>>> { }
public class Weird2<T> { }

[StructLayout(LayoutKind.Explicit)] public struct Union { [FieldOffset(0)] public int I; [FieldOffset(0)] public float F; [FieldOffset(8)] public object O; }
[StructLayout(LayoutKind.Explicit)] public struct BadUnion { [FieldOffset(0)] public int I; [FieldOffset(0)] public object O; }
[InlineArray(5)] public struct Five<T> { private T first; }
public class Statics { public static int Number = 1; public static string Text = "x"; public static Money Cash; [ThreadStatic] public static object PerThread; public const int Literal = 42; }
