! Temperature along a straight cooling fin: T'' = m^2 (T - air), T = base at its root, T' = 0 at its tip,
! with m^2 = 2 film / (conductivity thickness). Central differences on n intervals, Thomas' algorithm.
program fin
  implicit none
  integer, parameter :: dp = kind(1d0), n = 1000, stations = 10
  real(dp) :: film, base, air, conductivity, thickness, length
  real(dp) :: a, t(0:n), upper(0:n)
  integer :: i
  namelist /case/ film, base, air, conductivity, thickness, length

  read (*, nml=case)
  a = 2*film/(conductivity*thickness)*(length/n)**2

  ! Forward sweep over -T(i-1) + (2 + a) T(i) - T(i+1) = a air; the tip has its mirror image beyond the end.
  upper(0) = 0
  t(0) = base
  do i = 1, n - 1
    upper(i) = 1/(2 + a - upper(i - 1))
    t(i) = (a*air + t(i - 1))*upper(i)
  end do
  t(n) = (a*air + 2*t(n - 1))/(2 + a - 2*upper(n - 1))
  do i = n - 1, 1, -1
    t(i) = t(i) + upper(i)*t(i + 1)
  end do

  open (unit=10, file='fin.csv', status='replace')
  write (10, '(a)') 'position,temperature'
  do i = 1, stations
    write (10, '(es24.16,a,es24.16)') i*length/stations, ',', t(i*(n/stations))
  end do
  close (10)
end program fin
