% if page.crumbs:
<nav class="crumbs" aria-label="Breadcrumb">
  <ol>
%   for crumb in page.crumbs:
%     if crumb.href:
    <li><a href="{{crumb.href}}"><bdi>{{crumb.title}}</bdi></a></li>
%     else:
    <li><bdi aria-current="page">{{crumb.title}}</bdi></li>
%     end
%   end
  </ol>
</nav>
% end
