# cython: language_level=3
"""The fields of a change, read where they are: by name each costs 12 ns."""

from cpython.ref cimport PyObject

cdef extern from *:
    """
    #include <structmember.h>

    /* Where instances of `type` hold what its attribute `name` says; the same in classes derived from it. */
    static Py_ssize_t ditto_offset_of(PyObject *type, const char *name) {
        Py_ssize_t offset = -1;
        PyObject *found = PyObject_GetAttrString(type, name);
        if (found == NULL)
            return -1;
        if (Py_TYPE(found) == &PyMemberDescr_Type)
            offset = ((PyMemberDescrObject *)found)->d_member->offset;
        else
            PyErr_Format(PyExc_TypeError, "%s is no slot", name);
        Py_DECREF(found);
        return offset;
    }
    #define ditto_is_change(object, type) PyObject_TypeCheck(object, (PyTypeObject *)(type))
    #define ditto_field(object, offset) (*(PyObject **)((char *)(object) + (offset)))
    """
    Py_ssize_t offset_of "ditto_offset_of"(object type, const char *name) except -1
    bint is_change "ditto_is_change"(object value, object type)
    PyObject *field "ditto_field"(object value, Py_ssize_t offset)


cdef struct Fields:
    Py_ssize_t id
    Py_ssize_t schema
    Py_ssize_t table
    Py_ssize_t action
    Py_ssize_t data
    Py_ssize_t data_old
    Py_ssize_t commit_time
    Py_ssize_t unchanged


cdef inline int find_fields(Fields *fields, object type) except -1:
    fields.id = offset_of(type, "id")
    fields.schema = offset_of(type, "schema")
    fields.table = offset_of(type, "table")
    fields.action = offset_of(type, "action")
    fields.data = offset_of(type, "data")
    fields.data_old = offset_of(type, "data_old")
    fields.commit_time = offset_of(type, "commit_time")
    fields.unchanged = offset_of(type, "unchanged")
    return 0


cdef inline int check_change(object value, object type) except -1:
    if not is_change(value, type):
        raise TypeError(f"no change, but {value.__class__.__name__}")
    return 0
