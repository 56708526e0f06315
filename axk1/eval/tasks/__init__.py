"""The reasoning tasks that models are taught and examined with, by the name of their dataset in reasoning-gym."""

from axk1.eval.tasks.arithmetic import (
    ChainSum,
    ComplexArithmetic,
    CountPrimes,
    GreatestCommonDivisor,
    SimpleEquations,
)
from axk1.eval.tasks.task import Task
from axk1.eval.tasks.words import (
    AliceInWonderland,
    LegCounting,
    NumberFiltering,
    RotateMatrix,
    WeekdayArithmetic,
)

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        AliceInWonderland(),
        WeekdayArithmetic(),
        ChainSum(),
        ComplexArithmetic(),
        CountPrimes(),
        GreatestCommonDivisor(),
        LegCounting(),
        NumberFiltering(),
        RotateMatrix(),
        SimpleEquations(),
    )
}
"""Every task, in alphabetical order of its name."""
